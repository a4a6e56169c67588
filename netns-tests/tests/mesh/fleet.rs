//! Twenty nodes, three relays and the control plane, two instances on PostgreSQL or one on SQLite,
//! through all that may happen to them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netns_tests::mesh::{Hub, HubOptions, MeshNode, Nat, Programs};
use netns_tests::{Host, Lab, Pinger, answers, ping, wait_until};
use serde_json::Value;
use throwaway_postgres::{Cluster, Durability};

use crate::scene::cut_after;

const NODES: usize = 20;
/// Of the nodes, these two are each behind a router that hides them.
const HIDDEN: [usize; 2] = [18, 19];
const EVERYBODY: &str = r#"{ "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }] }"#;
const LONG: Duration = Duration::from_secs(60);
/// How long who has moved may be away.
const GAP: Duration = Duration::from_secs(20);

struct Fleet {
    nodes: Vec<MeshNode>,
    addresses: Vec<String>,
    /// Before the hidden.
    _routers: Vec<Host>,
    hub: Hub,
    lab: Lab,
    /// The database of two instances; one alone keeps its own.
    cluster: Option<Cluster>,
}

impl Fleet {
    /// Of two instances, every other node comes in by the other.
    fn start(cluster: Option<Cluster>) -> Result<Self> {
        let lab = Lab::new("mesh-fleet")?;
        let options = HubOptions { forwards: true, relay: false };
        let database = cluster.as_ref().map(Cluster::database).transpose()?;
        let mut hub = Hub::start_on(&lab, options, Programs::beside()?, database)?;
        hub.start_relays(3)?;
        let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
        let (mut nodes, mut routers) = (Vec::new(), Vec::new());
        for number in 0..NODES {
            let name = format!("n{number}");
            let node = if HIDDEN.contains(&number) {
                // Of a kind that two nodes cannot get through.
                let (node, before) = hub.node_behind(&lab, &name, Nat::Symmetric)?;
                routers.extend(before);
                node
            } else {
                hub.node(&lab, &name)?
            };
            let alone = cluster.is_none();
            let url = if alone || number % 2 == 0 { hub.url() } else { hub.other_url() };
            node.up_at(&url, &hub, &key, &[])?;
            nodes.push(node);
        }
        for node in &nodes {
            wait_until(LONG, &format!("{}: all the others", node.name), || {
                node.status()
                    .is_ok_and(|status| peers(&status) == NODES - 1 && !status["relay"].is_null())
            });
        }
        let addresses = nodes.iter().map(MeshNode::address).collect::<Result<_>>()?;
        Ok(Self { nodes, addresses, _routers: routers, hub, lab, cluster })
    }

    /// Traffic from one node to another, which is there before this returns.
    fn traffic(&self, from: usize, to: usize) -> Result<Pinger> {
        let (host, address) = (&self.nodes[from].host, &self.addresses[to]);
        // Its first packets may have gone to a relay that has died.
        let answered = || answers(host, address, Duration::from_secs(2)).unwrap_or(false);
        wait_until(LONG, &format!("{address} from {}", self.nodes[from].name), answered);
        let pinger =
            Pinger::start(&self.nodes[from].host, &self.addresses[to], Duration::from_millis(20))?;
        pinger.wait_for_more(10, LONG)?;
        Ok(pinger)
    }

    /// Each reaches the next three, so that everybody asks and answers.
    fn everybody_is_reached(&self) {
        for (from, node) in self.nodes.iter().enumerate() {
            for to in (1..=3).map(|step| (from + step) % NODES) {
                if let Err(error) = ping(&node.host, &self.addresses[to]) {
                    panic!("{error:#}\n{}", self.known(from, to));
                }
            }
        }
    }

    /// What two nodes know of each other, for who looks why one is not reached.
    fn known(&self, a: usize, b: usize) -> String {
        let said = |node: &MeshNode, words: &[&str]| {
            let said = node.nearwire(words).unwrap_or_else(|error| format!("{error:#}"));
            format!("{}: {}\n{said}\n", node.name, words.join(" "))
        };
        let of = |node: &MeshNode, other: &MeshNode| {
            let peers = node.host.run(["wg", "show", &node.interface]);
            let explained = said(node, &["explain", &other.name]);
            let dropped = said(node, &["drops", &node.interface]);
            let peers = peers.map(|output| output.stdout).unwrap_or_default();
            format!("{explained}{dropped}{peers}{}\n", node.log())
        };
        let (a, b) = (&self.nodes[a], &self.nodes[b]);
        of(a, b) + &of(b, a)
    }

    /// A policy that keeps one node to itself is felt by nodes of both instances, and traffic of
    /// others is not touched.
    fn one_is_denied_and_granted_again(&self, which: usize) -> Result<()> {
        let other = self.traffic(2, 3)?;
        let lonely = &self.addresses[which];
        self.hub.policy(&format!(
            r#"{{ "acls": [
                {{ "action": "deny", "src": ["*"], "dst": ["{lonely}:*"] }},
                {{ "action": "accept", "src": ["*"], "dst": ["*:*"] }},
            ] }}"#
        ))?;
        for from in [4, 5] {
            wait_until(LONG, "denial", || {
                answers(&self.nodes[from].host, lonely, Duration::from_millis(300))
                    .is_ok_and(|answered| !answered)
            });
        }
        self.hub.policy(EVERYBODY)?;
        for from in [4, 5] {
            wait_until(LONG, "the grant", || {
                answers(&self.nodes[from].host, lonely, Duration::from_secs(1)).unwrap_or(false)
            });
        }
        assert_eq!(other.finish()?.lost(), 0);
        Ok(())
    }

    /// Two more networks' nodes, of which each sees its own only, under addresses that others have.
    fn tenants_are_apart(&self) -> Result<()> {
        self.hub.admin(&["networks", "create", "other"])?;
        self.hub.policy_of("other", EVERYBODY)?;
        let key = self.hub.auth_key_of("other", &["--reusable", "--tag", "tag:node"])?;
        let (x, y) = (self.hub.node(&self.lab, "x")?, self.hub.node(&self.lab, "y")?);
        for node in [&x, &y] {
            node.up(&self.hub, &key, &[])?;
        }
        x.wait_for("its only peer", |status| peers(status) == 1);
        let (at_x, at_y) = (x.address()?, y.address()?);
        assert!(self.addresses.contains(&at_x) && self.addresses.contains(&at_y), "{at_x} {at_y}");
        let echoed = |node: &MeshNode, address: &str| -> Result<i64> {
            ping(&node.host, address)?;
            let name = if address == at_y { "y" } else { "x" };
            Ok(node.peer(name)?["received"].as_i64().unwrap_or_default())
        };
        assert!(echoed(&x, &at_y)? > 0, "it was the tenant's own y that answered");
        assert!(echoed(&y, &at_x)? > 0, "it was the tenant's own x that answered");
        assert_eq!(self.nodes[0].peer("x")?, Value::Null);
        Ok(())
    }

    /// A node gets another address outside: traffic goes on, and everybody reaches it.
    fn a_node_moves(&self, which: usize, from: usize) -> Result<()> {
        let pinger = self.traffic(from, which)?;
        let moved = Instant::now();
        let new = format!("{}:", self.hub.renumber(&self.nodes[which].host)?);
        self.nodes[which]
            .wait_for("its new address", |status| status["endpoints"].to_string().contains(&new));
        pinger.wait_for_more(20, GAP)?;
        println!("{} moved and is reached after {:?}", self.nodes[which].name, moved.elapsed());
        for node in self.nodes.iter().filter(|node| node.name != self.nodes[which].name) {
            wait_until(GAP, &format!("{} reaches who has moved", node.name), || {
                answers(&node.host, &self.addresses[which], Duration::from_secs(1)).unwrap_or(false)
            });
        }
        Ok(())
    }

    /// Both ends of some traffic change their keys.
    fn keys_change(&self, a: usize, b: usize) -> Result<()> {
        let pinger = self.traffic(a, b)?;
        for (node, other) in [(a, b), (b, a)] {
            let (node, other) = (&self.nodes[node], &self.nodes[other]);
            let before = node.status()?["key"].clone();
            node.nearwire(&["rotate"])?;
            node.wait_for("another key", |status| status["key"] != before);
            let after = node.status()?["key"].clone();
            wait_until(LONG, "the other's new key", || {
                other.peer(&node.name).is_ok_and(|peer| peer["key"] == after)
            });
            if let Err(error) = pinger.wait_for_more(100, LONG) {
                panic!("{error:#}\n{}", self.known(a, b));
            }
        }
        let count = pinger.finish()?;
        assert_eq!(count.lost(), 0, "{count:?}\n{}", self.known(a, b));
        Ok(())
    }

    /// An operator of one instance revokes a node; who came in by the other cuts it.
    fn a_revoked_node_is_cut(&self, which: usize, from: usize) -> Result<()> {
        let pinger = self.traffic(from, which)?;
        let id = self.nodes[which].id()?;
        let revoked = Instant::now();
        self.hub.admin(&["nodes", "delete", "home", &id])?;
        let cut = cut_after(&pinger, revoked, LONG);
        assert!(cut < Duration::from_secs(1), "cut after {cut:?}");
        Ok(())
    }

    /// The first instance is killed and its nodes come to the other, which has news for them.
    fn nodes_move_to_the_other_instance(&mut self) -> Result<()> {
        let pinger = self.traffic(0, 1)?;
        self.hub.stop_control();
        self.hub.turn_to_the_other(true)?;
        for node in [&self.nodes[0], &self.nodes[2]] {
            wait_until(LONG, "connected to the other", || {
                node.status().is_ok_and(|status| status["state"] == "connected")
            });
        }
        self.one_is_denied_and_granted_again(6)?;
        self.hub.turn_to_the_other(false)?;
        self.hub.start_control()?;
        assert_eq!(pinger.finish()?.lost(), 0);
        Ok(())
    }

    /// The only instance is killed; the mesh works on; it comes back, and changes arrive again.
    fn the_control_plane_goes_and_comes_back(&mut self) -> Result<()> {
        let pinger = self.traffic(0, 1)?;
        self.hub.stop_control();
        for node in [&self.nodes[0], &self.nodes[2]] {
            node.wait_for("offline", |status| status["state"] == "offline");
        }
        self.everybody_is_reached();
        self.hub.start_control()?;
        self.one_is_denied_and_granted_again(6)?;
        assert_eq!(pinger.finish()?.lost(), 0);
        Ok(())
    }

    /// The database goes; the mesh works on; it comes back, and changes arrive again.
    fn the_database_goes_and_comes_back(&self) -> Result<()> {
        let cluster = self.cluster.as_ref().context("it is on SQLite")?;
        let pinger = self.traffic(7, 8)?;
        cluster.stop()?;
        let refused = self.hub.policy(EVERYBODY);
        assert!(refused.is_err(), "nothing is taken in that cannot be kept");
        pinger.wait_for_more(100, LONG)?;
        cluster.resume()?;
        wait_until(LONG, "a change is taken again", || self.hub.policy(EVERYBODY).is_ok());
        self.one_is_denied_and_granted_again(9)?;
        assert_eq!(pinger.finish()?.lost(), 0);
        Ok(())
    }

    /// The relay of hidden nodes is killed; they reach each other by another.
    fn a_relay_dies(&mut self) -> Result<()> {
        let [a, b] = HIDDEN;
        ping(&self.nodes[a].host, &self.addresses[b])?;
        self.nodes[a].wait_for_path(&self.nodes[b].name, "relay");
        let region = self.nodes[b].status()?["relay"]["region"].as_u64().context("no region")?;
        // Regions are numbered from one.
        let which = usize::try_from(region)? - 1;
        self.hub.stop_one_relay(which);
        wait_until(LONG, "traffic by another relay", || {
            answers(&self.nodes[a].host, &self.addresses[b], Duration::from_secs(1))
                .unwrap_or(false)
        });
        Ok(())
    }
}

fn peers(status: &Value) -> usize {
    status["peers"].as_array().map_or(0, Vec::len)
}

fn live(fleet: &mut Fleet) -> Result<()> {
    fleet.everybody_is_reached();
    wait_until(LONG, "a name", || {
        fleet.nodes[1]
            .by_name(&["ping", "-c", "1", "-W", "1", "n12.home.mesh"])
            .is_ok_and(|pinged| pinged.status.success())
    });
    fleet.tenants_are_apart()?;
    fleet.one_is_denied_and_granted_again(10)?;
    fleet.a_node_moves(15, 16)?;
    fleet.keys_change(11, 12)
}

#[test]
fn a_fleet_of_two_instances_on_postgresql_lives_through_what_may_happen() -> Result<()> {
    let mut fleet = Fleet::start(Some(Cluster::start(Durability::Lost)?))?;
    live(&mut fleet)?;
    fleet.nodes_move_to_the_other_instance()?;
    fleet.the_database_goes_and_comes_back()?;
    fleet.a_relay_dies()?;
    fleet.a_revoked_node_is_cut(13, 14)
}

#[test]
fn a_fleet_of_one_instance_on_sqlite_lives_through_what_may_happen() -> Result<()> {
    let mut fleet = Fleet::start(None)?;
    live(&mut fleet)?;
    fleet.the_control_plane_goes_and_comes_back()?;
    fleet.a_relay_dies()?;
    fleet.a_revoked_node_is_cut(13, 14)
}
