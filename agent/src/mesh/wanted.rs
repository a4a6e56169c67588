//! What a netmap makes of the interface, as far as this node wants it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use proto::control::{Netmap, NodeId, Peer, Standing};
use proto::key::PublicKey;
use serde::{Deserialize, Serialize};

use super::state::Settings;

/// The state that the interface is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) addresses: BTreeSet<IpNet>,
    pub(crate) routes: BTreeSet<IpNet>,
    pub(crate) peers: BTreeMap<NodeId, WantedPeer>,
    /// Routes that peers offer and that are not used.
    pub(crate) refused: Vec<RefusedRoute>,
    pub(crate) exit: Exit,
}

/// What of the world outside goes through the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nothing.
    #[default]
    No,
    /// Ours goes through a peer. If that is not there, it goes nowhere: it was asked to go by no other
    /// way.
    Through { missing: Option<String> },
    /// Others' goes through us: from these networks, and as it is to those.
    Serves { from: Vec<IpNet>, plain: Vec<IpNet> },
}

/// A peer of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedPeer {
    pub(crate) key: PublicKey,
    pub(crate) next_key: Option<PublicKey>,
    pub(crate) allowed_ips: BTreeSet<IpNet>,
}

/// A route that is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedRoute {
    pub(crate) route: IpNet,
    /// Who offers it.
    pub(crate) peer: String,
    pub(crate) reason: String,
}

impl Wanted {
    /// What this netmap makes of it. `local` are the networks of the host's other interfaces.
    pub(crate) fn of(netmap: &Netmap, settings: &Settings, local: &[IpNet]) -> Self {
        if netmap.me.standing != Standing::Approved {
            return Self::default();
        }
        let network = [IpNet::from(netmap.network.v4), netmap.network.v6.into()];
        let mut wanted = Self {
            addresses: netmap.me.addresses.iter().map(|&address| host(address)).collect(),
            routes: network.into_iter().map(|net| net.trunc()).collect(),
            ..Self::default()
        };
        for peer in netmap.peers.values() {
            wanted.peers.insert(
                peer.id,
                WantedPeer {
                    key: peer.key,
                    next_key: peer.next_key,
                    allowed_ips: peer.addresses.iter().map(|&address| host(address)).collect(),
                },
            );
            let is_exit = settings.exit_node.as_deref().is_some_and(|exit| is_called(peer, exit));
            for route in &peer.routes {
                if is_exit && route.prefix_len() == 0 {
                    wanted.take_exit(route.trunc(), peer.id);
                    continue;
                }
                let same = wanted.has_route(route).and_then(|other| netmap.peers.get(&other));
                let same = same.map(|other| format!("{} offers the same", other.name));
                match refusal(route, settings, &network, local).or(same) {
                    None => wanted.take_route(route.trunc(), peer.id),
                    Some(reason) => {
                        let (route, peer) = (*route, peer.name.clone());
                        wanted.refused.push(RefusedRoute { route, peer, reason });
                    }
                }
            }
        }
        let approved = netmap.me.routes.iter().any(|route| route.prefix_len() == 0);
        if let Some(exit) = &settings.exit_node {
            if wanted.exit == Exit::No {
                let reason = missing(netmap, exit);
                wanted.exit = Exit::Through { missing: Some(reason) };
            }
        } else if settings.advertise_exit_node && approved {
            let (from, plain) = (network.to_vec(), settings.advertise_routes.clone());
            wanted.exit = Exit::Serves { from, plain };
        }
        wanted
    }

    /// A peer as the way to everything. The table for it is one of its own: see `io::divert`.
    fn take_exit(&mut self, everything: IpNet, id: NodeId) {
        self.exit = Exit::Through { missing: None };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.allowed_ips.insert(everything);
        }
    }

    fn take_route(&mut self, route: IpNet, id: NodeId) {
        self.routes.insert(route);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.allowed_ips.insert(route);
        }
    }

    /// Who has the route already. One within another is no clash: the longest prefix takes the packet.
    fn has_route(&self, route: &IpNet) -> Option<NodeId> {
        let mut peers = self.peers.iter();
        peers.find(|(_, peer)| peer.allowed_ips.contains(&route.trunc())).map(|(id, _)| *id)
    }
}

/// Why a route is not used, if it is not.
fn refusal(
    route: &IpNet,
    settings: &Settings,
    network: &[IpNet],
    local: &[IpNet],
) -> Option<String> {
    let overlaps = |other: &IpNet| other.contains(route) || route.contains(other);
    if route.prefix_len() == 0 {
        return Some("an exit node's, which is used by: nearwire up --exit-node".to_owned());
    }
    if !settings.accept_routes {
        return Some("this node does not accept routes (nearwire up --accept-routes)".into());
    }
    if let Some(own) = network.iter().find(|own| overlaps(own)) {
        return Some(format!("it overlaps the network's own addresses {own}"));
    }
    if let Some(own) = settings.advertise_routes.iter().find(|own| overlaps(own)) {
        return Some(format!("this node offers {own} itself: packets would go in a circle"));
    }
    if let Some(near) = local.iter().find(|near| overlaps(near)) {
        return Some(format!("it overlaps {near}, which this host is connected to"));
    }
    None
}

fn is_called(peer: &Peer, text: &str) -> bool {
    let address = text.parse().ok();
    peer.name == text
        || peer.id.to_string() == text
        || address.is_some_and(|address| peer.addresses.contains(&address))
}

/// Why an exit node that was asked for is none.
fn missing(netmap: &Netmap, exit: &str) -> String {
    let why = if netmap.peers.values().any(|peer| is_called(peer, exit)) {
        "offers no way to everywhere: it takes nearwire up --advertise-exit-node there, and an \
         operator's approval"
    } else {
        "is no peer: there is none, or the policy does not let you reach it"
    };
    format!("the exit node {exit} {why}; until then nothing leaves this host for the world outside")
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

#[cfg(test)]
pub(super) mod tests {
    use proto::control::Snapshot;
    use serde_json::json;

    use super::*;

    pub(in crate::mesh) fn netmap(peers: &[(char, &str, &[&str])]) -> Netmap {
        let key = |seed: u8| PublicKey::from([seed; 32]).to_base64();
        let id = |digit: char| format!("n{}", digit.to_string().repeat(32));
        let peers: Vec<_> = (2_u8..)
            .zip(peers)
            .map(|(number, (digit, name, routes))| {
                json!({
                    "id": id(*digit), "name": name, "key": key(number), "routes": routes,
                    "addresses": [format!("100.64.0.{number}"), format!("fd00::{number}")],
                })
            })
            .collect();
        let snapshot = json!({
            "revision": 1,
            "network": {
                "id": "00".repeat(16), "name": "home", "v4": "100.64.0.0/10", "v6": "fd00::/64",
            },
            "me": {
                "id": id('1'), "name": "me", "addresses": ["100.64.0.1", "fd00::1"],
                "key": key(1), "standing": "approved",
            },
            "peers": peers, "regions": [], "filter": {}, "dns": { "domain": "home.mesh" },
        });
        Netmap::from(serde_json::from_value::<Snapshot>(snapshot).unwrap())
    }

    fn settings() -> Settings {
        Settings { accept_routes: true, ..Settings::default() }
    }

    fn reasons(wanted: &Wanted) -> Vec<&str> {
        wanted.refused.iter().map(|refused| refused.reason.as_str()).collect()
    }

    #[test]
    fn a_peer_has_its_own_addresses_and_the_routes_that_are_accepted() {
        let netmap = netmap(&[('2', "web", &["10.1.0.0/16"]), ('3', "db", &[])]);
        let wanted = Wanted::of(&netmap, &settings(), &[]);
        let texts: Vec<_> = wanted.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["100.64.0.1/32", "fd00::1/128"]);
        assert_eq!(wanted.routes.len(), 3);
        let web = wanted.peers.values().next().unwrap();
        assert_eq!(web.allowed_ips.len(), 3);
        assert!(wanted.refused.is_empty());
        let wanted = Wanted::of(&netmap, &Settings::default(), &[]);
        assert_eq!((wanted.routes.len(), wanted.refused.len()), (2, 1));
    }

    #[test]
    fn circles_and_overlaps_are_refused_with_a_reason() {
        let offered = |route: &'static str| netmap(&[('2', "web", &[route])]);
        let refused = |route, settings: &Settings, local: &[IpNet]| {
            let wanted = Wanted::of(&offered(route), settings, local);
            reasons(&wanted).join(";")
        };
        let near = ["10.1.2.0/24".parse().unwrap()];
        assert!(refused("10.1.0.0/16", &settings(), &near).contains("connected to"));
        assert!(refused("100.70.0.0/16", &settings(), &[]).contains("own addresses"));
        let own = vec!["10.1.0.0/24".parse().unwrap()];
        let offers = Settings { advertise_routes: own, ..settings() };
        assert!(refused("10.1.0.0/16", &offers, &[]).contains("circle"));
        assert!(refused("0.0.0.0/0", &settings(), &[]).contains("exit node"));
        let twice = netmap(&[('2', "web", &["10.1.0.0/16"]), ('3', "db", &["10.1.0.0/16"])]);
        let wanted = Wanted::of(&twice, &settings(), &[]);
        assert_eq!(reasons(&wanted), ["web offers the same"]);
        let within = netmap(&[('2', "web", &["10.0.0.0/8"]), ('3', "db", &["10.1.0.0/16"])]);
        let wanted = Wanted::of(&within, &settings(), &[]);
        assert_eq!((wanted.refused.len(), wanted.routes.len()), (0, 4));
    }

    #[test]
    fn an_exit_node_is_the_peer_that_was_named_and_nobody_else() {
        let both: &[&str] = &["0.0.0.0/0", "::/0"];
        let netmap = netmap(&[('2', "web", both), ('3', "db", both), ('4', "pc", &[])]);
        let exit = |name: &str| Settings { exit_node: Some(name.into()), ..Settings::default() };
        let wanted = Wanted::of(&netmap, &exit("db"), &[]);
        assert_eq!(wanted.exit, Exit::Through { missing: None });
        let networks: Vec<_> = wanted.peers.values().map(|peer| peer.allowed_ips.len()).collect();
        assert_eq!(networks, [2, 4, 2]);
        assert_eq!(wanted.routes.len(), 2, "the table for it is another");
        for (name, why) in [("pc", "--advertise-exit-node"), ("no", "is no peer")] {
            let Exit::Through { missing: Some(reason) } =
                Wanted::of(&netmap, &exit(name), &[]).exit
            else {
                panic!("{name} is no exit node");
            };
            assert!(reason.contains(why), "{reason}");
        }
    }

    #[test]
    fn who_offers_to_be_an_exit_node_is_one_when_that_is_approved() {
        let mut netmap = netmap(&[]);
        let offers = Settings { advertise_exit_node: true, ..Settings::default() };
        assert_eq!(Wanted::of(&netmap, &offers, &[]).exit, Exit::No);
        netmap.me.routes = crate::mesh::state::EVERYTHING.to_vec();
        let Exit::Serves { from, plain } = Wanted::of(&netmap, &offers, &[]).exit else {
            panic!("it is approved");
        };
        assert_eq!((from.len(), plain.len()), (2, 0));
    }

    #[test]
    fn who_waits_for_approval_has_nothing() {
        let mut netmap = netmap(&[('2', "web", &[])]);
        netmap.me.standing = Standing::Pending;
        assert_eq!(Wanted::of(&netmap, &settings(), &[]), Wanted::default());
    }
}
