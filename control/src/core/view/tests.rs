use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::control::{Netmap, Network, PathKind, RegionId, RelayOffer, Standing};
use proto::key::PublicKey;
use proto::ticket::NetworkId;
use zeroize::Zeroizing;

use super::*;
use crate::core::ipam::{AddressPlan, Host};
use crate::core::key_lifetime::KeyLifetime;
use crate::core::node::Owner;
use crate::core::rule_book::Written;
use crate::core::tenant::{Change, Dues};

const NOW: UnixSeconds = UnixSeconds(1_000_000);
const RULES: [&str; 6] = [
    r#"{ "action": "accept", "src": ["*"], "dst": ["*:*"] }"#,
    r#"{ "action": "accept", "src": ["tag:a"], "dst": ["tag:b:80"] }"#,
    r#"{ "action": "accept", "src": ["alice@x"], "dst": ["tag:a:22"] }"#,
    r#"{ "action": "deny", "src": ["alice@x"], "dst": ["tag:a:*"] }"#,
    r#"{ "action": "accept", "src": ["tag:b"], "dst": ["192.168.7.0/24:*"] }"#,
    r#"{ "action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"] }"#,
];

/// A grant to relay.
const RELAYS: &str = r#"{ "src": ["tag:b", "alice@x"], "dst": ["tag:a", "tag:b"], "app": { "nearwire/relay": [] } }"#;

/// Kinds of path between some.
const PATHS: &str = r#"{ "src": ["tag:b"], "dst": ["alice@x"], "use": ["direct"] },
    { "src": ["tag:a", "192.168.7.0/24"], "dst": ["tag:b", "alice@x"], "use": ["peer-relay", "relay"] }"#;

fn tickets() -> TicketKeys {
    let key = SigningKey::from_seed(&Zeroizing::new([9; 32])).unwrap();
    TicketKeys::new([(UnixSeconds(0), TicketKey { id: ControlKeyId(1), key })]).unwrap()
}

fn document(rules: u8) -> Written {
    let bits = (0..RULES.len()).filter(|bit| rules >> bit & 1 == 1);
    let acls: Vec<&str> = bits.map(|bit| RULES[bit]).collect();
    let tags = r#""tagOwners": { "tag:a": [], "tag:b": [] }"#;
    let relays = if rules >> RULES.len() & 1 == 1 { RELAYS } else { "" };
    let paths = if rules >> 7 & 1 == 1 { PATHS } else { "" };
    let text = format!(
        "{{ {tags}, \"acls\": [{}], \"grants\": [{relays}], \"paths\": [{paths}] }}",
        // What stands before a rule moves it.
        acls.join(",\n")
    );
    Written::read(&text).unwrap()
}

pub(in crate::core) fn node(number: u8, kind: u8) -> Node {
    let owner = match kind % 4 {
        0 => Owner::Tags(vec!["tag:a".to_owned()]),
        1 => Owner::Tags(vec!["tag:b".to_owned()]),
        2 => Owner::User("alice@x".to_owned()),
        _ => Owner::User("bob@x".to_owned()),
    };
    // By this bit alone the node key is another.
    let seed = Zeroizing::new([number + 100 * (kind >> 3 & 1); 32]);
    Node {
        id: NodeId([number; 16]),
        name: format!("node{number}"),
        host: Host(u32::from(number) + 1),
        owner,
        standing: if kind & 32 == 0 { Standing::Approved } else { Standing::Pending },
        ephemeral: false,
        node_key: SigningKey::from_seed(&seed).unwrap().verifying_key(),
        last_node_key: None,
        key: PublicKey::from([(kind & !8).max(1); 32]),
        key_since: NOW,
        next_key: None,
        offered: vec!["192.168.7.0/24".parse().unwrap()],
        approved: if kind & 16 == 0 { Vec::new() } else { vec!["192.168.7.0/24".parse().unwrap()] },
        endpoints: vec![([192, 0, 2, number], u16::from(kind)).into()],
        disco: None,
        relay: (kind & 4 != 0).then_some(RelayOffer { port: 1, certificate: None }),
        home: Some(RegionId(1)),
        online: kind & 64 != 0,
        os: String::new(),
        agent: String::new(),
        created: NOW,
        expires: (kind & 128 != 0).then_some(NOW),
        lapsed: kind & 128 != 0,
        applied: None,
    }
}

fn tenant(nodes: Vec<Node>, rules: u8) -> Tenant {
    let plan = AddressPlan::usual([1; 5]);
    let network = Network {
        id: NetworkId([5; 16]),
        name: "home".to_owned(),
        v4: plan.v4(),
        v6: plan.v6(),
        flow_logs: 0,
    };
    Tenant::new((network, KeyLifetime::USUAL), plan, 1, nodes, document(rules), Vec::new()).unwrap()
}

/// A node at the other end of a stream.
#[derive(Default)]
struct Agent {
    told: Option<Told>,
    due: Due,
    netmap: Option<Netmap>,
    ended: bool,
}

impl Agent {
    fn listen(&mut self, tenant: &Tenant, id: NodeId) {
        let due = std::mem::take(&mut self.due);
        let line = next_line(tenant, id, &mut self.told, &due, &tickets(), NOW).unwrap();
        let Some(line) = line else { return };
        let frame = Frame::parse(&line).unwrap();
        if let Some(snapshot) = frame.snapshot {
            self.netmap = Some(snapshot.into());
        }
        if let Some(delta) = frame.delta {
            let gone = delta.gone.clone();
            let netmap = self.netmap.as_mut().unwrap();
            for id in &gone {
                assert!(netmap.peers.contains_key(id), "it hears of a node that it never knew");
            }
            netmap.apply(delta).unwrap();
        }
        self.ended = frame.end.is_some();
    }

    /// It knows what it would be told if it came now.
    fn check(&self, tenant: &Tenant, id: NodeId) {
        if self.ended {
            assert!(tenant.node(id).is_none_or(|node| node.is_expired(NOW)));
            return;
        }
        let mut fresh = Self::default();
        fresh.listen(tenant, id);
        assert!(!fresh.ended, "{id} should have heard that it ended");
        let (have, want) = (self.netmap.as_ref().unwrap(), fresh.netmap.unwrap());
        assert_eq!(have.peers, want.peers, "of {id}");
        assert_eq!(have.me, want.me);
        assert_eq!(have.relaying, want.relaying, "of {id}");
        assert_eq!(have.paths, want.paths, "of {id}");
        for (peer, paths) in &have.paths {
            let tells = have.relaying.get(peer).is_some_and(|relaying| relaying.serves);
            let hidden = have.peers[peer].endpoints.is_empty();
            assert_eq!(hidden, !paths.has(PathKind::Direct) && !tells, "{peer} to {id}");
        }
        let filters = [have, &want]
            .map(|netmap| serde_json::from_str::<policy::Filter>(netmap.filter.get()).unwrap());
        assert_eq!(filters[0], filters[1]);
        assert_eq!(have.rules, want.rules, "of {id}");
        let mut known: Vec<u32> = filters[0].rules().iter().map(|rule| rule.0).collect();
        known.sort_unstable();
        assert_eq!(have.rules.keys().copied().collect::<Vec<_>>(), known, "no more and no fewer");
        assert_eq!(have.regions, want.regions);
        assert_eq!(have.network, want.network);
        let keys = |netmap: &Netmap| {
            let claims = netmap.ticket.as_ref().map(|ticket| *ticket.ticket.claims());
            claims.map(|claims| (claims.node, claims.identity))
        };
        assert_eq!(keys(have), keys(&want));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However the network changes, and whenever a node listens.
    #[test]
    fn deltas_lead_to_what_a_snapshot_says(
        first in prop::collection::vec(any::<u8>(), 1..8),
        rules: u8,
        steps in prop::collection::vec((0u8..11, 0u8..10, any::<u8>(), any::<u16>()), 1..30),
    ) {
        let nodes: Vec<Node> = (0u8..).zip(&first).map(|(n, kind)| node(n, *kind)).collect();
        let mut agents: BTreeMap<NodeId, Agent> = BTreeMap::new();
        for node in &nodes {
            agents.insert(node.id, Agent::default());
        }
        let mut tenant = tenant(nodes, rules);
        for (id, agent) in &mut agents {
            agent.listen(&tenant, *id);
        }
        for (what, which, kind, listeners) in steps {
            let id = NodeId([which; 16]);
            let change = match what {
                0 => Change::Policy(document(kind)),
                1 => Change::Gone(id),
                2 => Change::Regions(vec![proto::control::Region {
                    id: RegionId(kind.into()),
                    name: "here".to_owned(),
                    relays: Vec::new(),
                }]),
                3 => {
                    let network = Network { flow_logs: (kind % 4).into(), ..tenant.network().clone() };
                    let lifetime = 3_600 * (1 + u64::from(kind / 64));
                    Change::Network(network, lifetime.try_into().unwrap())
                }
                _ => Change::Node(Box::new(node(which, kind))),
            };
            if agents.get(&id).is_some_and(|agent| agent.ended) {
                continue;
            }
            let is_new = matches!(change, Change::Node(_)) && tenant.node(id).is_none();
            let dues: Dues = tenant.apply(tenant.revision() + 1, vec![change]).unwrap();
            for (id, due) in dues {
                if let Some(agent) = agents.get_mut(&id) {
                    agent.due.merge(due);
                }
            }
            if is_new {
                // Gone and come back, or never seen: a new stream.
                agents.insert(id, Agent::default());
            }
            for (bit, (id, agent)) in (0..).zip(&mut agents) {
                if listeners >> bit & 1 == 1 && !agent.ended {
                    // Every fourth was away meanwhile.
                    if let Some(told) = agent.told.as_mut().filter(|_| kind % 4 == 3) {
                        told.rest();
                        agent.due = Due::everything();
                    }
                    agent.listen(&tenant, *id);
                }
            }
        }
        for (id, agent) in &mut agents {
            if !agent.ended {
                agent.listen(&tenant, *id);
                agent.check(&tenant, *id);
            }
        }
    }
}

#[test]
fn a_node_hears_of_those_it_may_reach_only() {
    let (one, two, three) = (node(0, 0), node(1, 1), node(2, 3));
    let mut tenant = tenant(vec![one.clone(), two.clone(), three], 0b10);
    let peers = |tenant: &Tenant, id| {
        let mut agent = Agent::default();
        agent.listen(tenant, id);
        agent.netmap.unwrap().peers.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(peers(&tenant, one.id), [two.id]);
    assert_eq!(peers(&tenant, NodeId([2; 16])), []);
    let dues = tenant.apply(2, vec![Change::Gone(two.id)]).unwrap();
    assert_eq!(dues[&one.id].peers, BTreeMap::from([(two.id, false)]));
    assert!(!dues.contains_key(&NodeId([2; 16])), "it is none of its business");
    assert_eq!(peers(&tenant, one.id), []);
}

#[test]
fn a_change_of_endpoints_concerns_peers_and_nobody_else() {
    let nodes = vec![node(0, 0), node(1, 1), node(2, 3), node(3, 1)];
    let mut tenant = tenant(nodes, 0b10);
    let mut moved = node(1, 1);
    moved.endpoints = vec!["198.51.100.9:1".parse().unwrap()];
    let dues = tenant.apply(2, vec![Change::Node(Box::new(moved))]).unwrap();
    let concerned: Vec<NodeId> = dues.keys().copied().collect();
    assert_eq!(concerned, [NodeId([0; 16]), NodeId([1; 16])]);
    assert!(!dues[&NodeId([0; 16])].filter);
}

#[test]
fn a_grant_makes_a_node_a_relay_if_it_offers_to_be_one() {
    let mut agents: [Agent; 4] = Default::default();
    let id = |number: u8| NodeId([number; 16]);
    // A server that offers, one that does not, a user of the grant and one that is not.
    let nodes = vec![node(0, 4), node(1, 0), node(2, 2), node(3, 3)];
    let mut tenant = tenant(nodes, 0b100_0000);
    let listen = |tenant: &Tenant, agents: &mut [Agent; 4]| {
        for (number, agent) in (0..).zip(agents) {
            agent.listen(tenant, id(number));
        }
    };
    let knows = |agent: &Agent| {
        let netmap = agent.netmap.as_ref().unwrap();
        let peers: Vec<u8> = netmap.peers.keys().map(|peer| peer.0[0]).collect();
        (peers, netmap.relaying.values().copied().collect::<Vec<_>>())
    };
    let relay = Relaying { peer: id(0), serves: true, served: false };
    let client = Relaying { peer: id(2), serves: false, served: true };
    listen(&tenant, &mut agents);
    assert_eq!(knows(&agents[0]), (vec![2], vec![client]));
    assert_eq!(agents[0].netmap.as_ref().unwrap().me.control_keys, tickets().public());
    assert_eq!(knows(&agents[1]), (vec![], vec![]));
    assert!(agents[1].netmap.as_ref().unwrap().me.control_keys.is_empty());
    assert_eq!(knows(&agents[2]), (vec![0], vec![relay]));
    assert_eq!(knows(&agents[3]), (vec![], vec![]));

    let tell = |tenant: &mut Tenant, agents: &mut [Agent; 4], change| {
        for (id, due) in tenant.apply(tenant.revision() + 1, vec![change]).unwrap() {
            agents[usize::from(id.0[0])].due.merge(due);
        }
        listen(tenant, agents);
    };
    tell(&mut tenant, &mut agents, Change::Policy(document(0)));
    assert_eq!((knows(&agents[0]), knows(&agents[2])), ((vec![], vec![]), (vec![], vec![])));
    tell(&mut tenant, &mut agents, Change::Policy(document(0b100_0000)));
    assert_eq!(knows(&agents[2]), (vec![0], vec![relay]));
    // It takes its offer back, and the other server makes one.
    tell(&mut tenant, &mut agents, Change::Node(Box::new(node(0, 0))));
    assert_eq!(knows(&agents[2]), (vec![], vec![]));
    tell(&mut tenant, &mut agents, Change::Node(Box::new(node(1, 4))));
    assert_eq!(knows(&agents[2]).0, [1]);
    assert_eq!(knows(&agents[1]), (vec![2], vec![client]));
}

#[test]
fn who_may_not_be_reached_directly_is_named_without_its_endpoints() {
    let id = |number: u8| NodeId([number; 16]);
    // A server that offers to relay, another of each tag, and a user.
    let mut tenant = tenant(vec![node(0, 4), node(1, 0), node(2, 1), node(3, 2)], 0b1);
    let mut agents: [Agent; 4] = Default::default();
    let listen = |tenant: &Tenant, agents: &mut [Agent; 4]| {
        for (number, agent) in (0..).zip(agents) {
            agent.listen(tenant, id(number));
            agent.check(tenant, id(number));
        }
    };
    let knows = |agent: &Agent| {
        let netmap = agent.netmap.as_ref().unwrap();
        let peers = netmap.peers.values().map(|peer| {
            let hidden = if peer.endpoints.is_empty() { " hidden" } else { "" };
            format!("{}{hidden}: {}", peer.id.0[0], netmap.path_kinds(&peer.id))
        });
        peers.collect::<Vec<_>>().join("; ")
    };
    listen(&tenant, &mut agents);
    let any = "direct or peer-relay or relay";
    assert_eq!(knows(&agents[3]), format!("0: {any}; 1: {any}; 2: {any}"));
    let tell = |tenant: &mut Tenant, agents: &mut [Agent; 4], change| {
        let dues = tenant.apply(tenant.revision() + 1, vec![change]).unwrap();
        let told = dues.keys().map(|id| id.0[0]).collect::<Vec<_>>();
        for (id, due) in dues {
            agents[usize::from(id.0[0])].due.merge(due);
        }
        listen(tenant, agents);
        told
    };
    tell(&mut tenant, &mut agents, Change::Policy(document(0b1000_0001)));
    let relayed = "peer-relay or relay";
    assert_eq!(knows(&agents[3]), format!("0 hidden: {relayed}; 1 hidden: {relayed}; 2: direct"));
    assert_eq!(knows(&agents[1]), format!("0: {any}; 2 hidden: {relayed}; 3 hidden: {relayed}"));
    // Where a relay is found its clients have to know.
    tell(&mut tenant, &mut agents, Change::Policy(document(0b1100_0001)));
    assert_eq!(knows(&agents[3]), format!("0: {relayed}; 1 hidden: {relayed}; 2: direct"));
    // Another tag, other paths; and nobody hears of what does not concern it.
    tell(&mut tenant, &mut agents, Change::Node(Box::new(node(2, 0))));
    assert_eq!(
        knows(&agents[3]),
        format!("0: {relayed}; 1 hidden: {relayed}; 2 hidden: {relayed}")
    );
    let told = tell(&mut tenant, &mut agents, Change::Policy(document(0b1000_0001)));
    assert_eq!(told, [0, 3], "the relay and whom it served");
    tell(&mut tenant, &mut agents, Change::Policy(document(0b1)));
    assert_eq!(knows(&agents[3]), format!("0: {any}; 1: {any}; 2: {any}"));
}

/// A tag whose nodes may all reach each other.
fn crowd(count: u8) -> Tenant {
    let mut tenant = tenant((0..count).map(|number| node(number, 0)).collect(), 0);
    let text = r#"{ "tagOwners": { "tag:a": [], "tag:b": [] },
        "acls": [{ "action": "accept", "src": ["tag:a"], "dst": ["tag:a:22"] }] }"#;
    tenant.apply(2, vec![Change::Policy(Written::read(text).unwrap())]).unwrap();
    tenant
}

#[test]
fn a_node_that_comes_to_many_costs_each_of_them_the_same() {
    let line_of_newcomer = |count: u8| {
        let mut tenant = crowd(count);
        let id = NodeId([0; 16]);
        let mut agent = Agent::default();
        agent.listen(&tenant, id);
        // Its address joins none of theirs to a shorter prefix.
        let newcomer = node(200, 0);
        let dues = tenant.apply(3, vec![Change::Node(Box::new(newcomer))]).unwrap();
        let line = next_line(&tenant, id, &mut agent.told, &dues[&id], &tickets(), NOW);
        line.unwrap().unwrap().len()
    };
    let (few, many) = (line_of_newcomer(10), line_of_newcomer(150));
    assert!(many <= few + 16, "{few} bytes among ten, {many} among many");
}

#[test]
fn a_rule_more_costs_no_set_that_was_there() {
    let mut tenant = crowd(150);
    let id = NodeId([0; 16]);
    let mut agent = Agent::default();
    agent.listen(&tenant, id);
    let text = r#"{ "tagOwners": { "tag:a": [], "tag:b": [] }, "acls": [
        { "action": "accept", "src": ["tag:a"], "dst": ["tag:a:22"] },
        { "action": "accept", "src": ["tag:a"], "dst": ["tag:a:80"] } ] }"#;
    tenant.apply(3, vec![Change::Policy(Written::read(text).unwrap())]).unwrap();
    let line = next_line(&tenant, id, &mut agent.told, &Due::everything(), &tickets(), NOW);
    let line = line.unwrap().unwrap();
    assert!(line.len() < 500, "{}", String::from_utf8_lossy(&line));
    agent.netmap.as_mut().unwrap().apply(Frame::parse(&line).unwrap().delta.unwrap()).unwrap();
    agent.check(&tenant, id);
}

#[test]
fn who_was_away_hears_a_filter_only_if_it_is_another() {
    let mut tenant = crowd(20);
    let id = NodeId([0; 16]);
    let mut agent = Agent::default();
    agent.listen(&tenant, id);
    let mut news = |tenant: &Tenant| {
        agent.told.as_mut().unwrap().rest();
        let due = Due::everything();
        let line = next_line(tenant, id, &mut agent.told, &due, &tickets(), NOW).unwrap();
        line.map(|line| Frame::parse(&line).unwrap().delta.unwrap().filter.is_some())
    };
    assert_eq!(news(&tenant), None, "nothing is new");
    tenant.apply(3, vec![Change::Node(Box::new(node(200, 0)))]).unwrap();
    assert_eq!(news(&tenant), Some(true));
    assert_eq!(news(&tenant), None);
}

#[test]
fn who_waits_for_approval_gets_no_peers_and_no_ticket() {
    let tenant = tenant(vec![node(0, 0), node(1, 1 | 32)], 0b1);
    let mut agent = Agent::default();
    agent.listen(&tenant, NodeId([1; 16]));
    let netmap = agent.netmap.unwrap();
    assert_eq!((netmap.peers.len(), netmap.ticket.is_none()), (0, true));
    assert_eq!(netmap.me.standing, Standing::Pending);
}

#[test]
fn a_ticket_is_the_nodes_and_comes_anew_in_time() {
    let tenant = tenant(vec![node(0, 4)], 0b1);
    let id = NodeId([0; 16]);
    let mut told = None;
    let mut line = |now: u64| {
        let line = next_line(&tenant, id, &mut told, &Due::default(), &tickets(), UnixSeconds(now));
        line.unwrap().map(|line| Frame::parse(&line).unwrap())
    };
    let first = line(NOW.0).unwrap().snapshot.unwrap().ticket.unwrap().ticket;
    let ticket = first.verify(&tickets().at(NOW).key.verifying_key()).unwrap();
    assert_eq!(ticket.node, PublicKey::from([4; 32]));
    assert_eq!(ticket.not_after, UnixSeconds(NOW.0 + TICKET_LASTS));
    assert!(line(NOW.0 + 100).is_none());
    let next = line(NOW.0 + TICKET_AHEAD + 1).unwrap().delta.unwrap().ticket.unwrap().ticket;
    assert_eq!(next.claims().not_after, UnixSeconds(NOW.0 + TICKET_AHEAD + 1 + TICKET_LASTS));
}
