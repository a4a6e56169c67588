//! Pairs behind NATs of every kind: direct where that is possible, else by the relay.

use std::time::{Duration, Instant};

use anyhow::Result;
use netns_tests::mesh::{Hub, HubOptions, MeshNode, Nat};
use netns_tests::{Host, Lab, Pinger, wait_until};

const HUB: HubOptions = HubOptions { forwards: true, relay: true };
const EVERY: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(30);
/// Guessing ports has a second try after a minute.
const LATE: Duration = Duration::from_secs(120);
/// How long a pair that cannot be direct is watched.
const WATCHED: Duration = Duration::from_secs(8);

struct Nodes {
    nodes: Vec<(Nat, MeshNode, Vec<Host>)>,
    hub: Hub,
    _lab: Lab,
}

impl Nodes {
    fn new(name: &str, nats: &[Nat]) -> Result<Self> {
        let lab = Lab::new(name)?;
        let mut hub = Hub::start(&lab, HUB)?;
        // One alone cannot show a hard NAT.
        hub.start_relays(2)?;
        let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
        let mut nodes = Vec::new();
        for (number, &nat) in nats.iter().enumerate() {
            let (node, routers) = hub.node_behind(&lab, &format!("n{number}"), nat)?;
            assert_eq!(node.up(&hub, &key, &[])?.trim(), "connected");
            nodes.push((nat, node, routers));
        }
        for (nat, node, _) in &nodes {
            node.wait_for("all peers and a home", |status| {
                let peers = status["peers"].as_array().map_or(0, Vec::len);
                peers == nats.len() - 1 && !status["relay"].is_null()
            });
            let hard = if *nat == Nat::Symmetric { "hard" } else { "easy" };
            if !matches!(nat, Nat::None | Nat::NoUdp) {
                wait_until(SOON, "what its NAT is", || {
                    node.nearwire(&["netcheck"]).is_ok_and(|said| said.contains(hard))
                });
            }
        }
        Ok(Self { nodes, hub, _lab: lab })
    }

    fn name(number: usize) -> String {
        format!("n{number}")
    }

    fn is_direct(&self, from: usize, to: usize) -> bool {
        let peer = self.nodes[from].1.peer(&Self::name(to));
        peer.is_ok_and(|peer| peer["path"] == "direct")
    }

    /// Sends echoes between two, and gives how long it took until both ways were direct.
    fn meet(&self, a: usize, b: usize) -> Result<Option<Duration>> {
        let ((nat_a, node_a, _), (nat_b, node_b, _)) = (&self.nodes[a], &self.nodes[b]);
        let start = Instant::now();
        let pinger = Pinger::start(&node_a.host, &node_b.address()?, EVERY)?;
        let (meets, guesses) = (nat_a.meets(*nat_b), nat_a.guesses(*nat_b));
        let names = format!("{} and {}", nat_a.name(), nat_b.name());
        let time = if meets {
            let patience = if guesses { LATE } else { SOON };
            wait_until(patience, &format!("{names} to be direct"), || {
                self.is_direct(a, b) && self.is_direct(b, a)
            });
            Some(start.elapsed())
        } else {
            wait_until(SOON, &format!("{names} to speak"), || pinger.answered() > 0);
            while start.elapsed() < WATCHED {
                assert!(!self.is_direct(a, b) && !self.is_direct(b, a), "{names} cannot be direct");
                std::thread::sleep(Duration::from_millis(200));
            }
            None
        };
        pinger.wait_for_more(10, SOON)?;
        let count = pinger.finish()?;
        // The move to a spare socket may cost some; no other costs any.
        let most = if guesses { 5 } else { 0 };
        assert!(count.lost() <= most, "{names}: {} echoes were lost", count.lost());
        println!("{names}: {time:?}");
        Ok(time)
    }
}

#[test]
fn every_pair_that_can_be_direct_is_direct_without_a_loss() -> Result<()> {
    let kinds = [Nat::None, Nat::FullCone, Nat::Restricted, Nat::PortRestricted, Nat::Carrier];
    let both: Vec<_> = kinds.iter().chain(&kinds).copied().collect();
    let nodes = Nodes::new("mesh-nats-easy", &both)?;
    for a in 0..kinds.len() {
        for b in kinds.len() + a..both.len() {
            nodes.meet(a, b)?;
        }
    }
    Ok(())
}

#[test]
fn a_hard_nat_is_direct_with_those_that_let_it_in() -> Result<()> {
    let kinds = [Nat::Symmetric, Nat::None, Nat::FullCone, Nat::Restricted];
    let nodes = Nodes::new("mesh-nats-hard", &kinds)?;
    for other in 1..kinds.len() {
        nodes.meet(0, other)?;
    }
    Ok(())
}

#[test]
fn a_hard_nat_and_one_that_filters_guess_each_others_ports() -> Result<()> {
    let nodes = Nodes::new("mesh-nats-guess", &[Nat::Symmetric, Nat::PortRestricted])?;
    nodes.meet(0, 1)?;
    let (_, node, _) = &nodes.nodes[0];
    assert!(node.nearwire(&["explain", "n1"])?.contains("in use"));
    Ok(())
}

#[test]
fn a_host_without_ipv4_is_direct_with_hosts_of_it_and_with_others_like_it() -> Result<()> {
    let kinds = [Nat::Nat64, Nat::None, Nat::PortRestricted, Nat::Nat64];
    let nodes = Nodes::new("mesh-nat64", &kinds)?;
    for other in 1..kinds.len() {
        nodes.meet(0, other)?;
    }
    let (_, node, _) = &nodes.nodes[0];
    let said = node.nearwire(&["netcheck"])?;
    assert!(said.contains("NAT64     2001:db8:64::/96"), "{said}");
    assert!(node.nearwire(&["explain", "n1"])?.contains("[2001:db8:64::"), "by NAT64");
    Ok(())
}

#[test]
fn a_host_without_ipv4_and_a_hard_nat_guess_ports() -> Result<()> {
    let nodes = Nodes::new("mesh-nat64-guess", &[Nat::Nat64, Nat::Symmetric])?;
    nodes.meet(0, 1).map(drop)
}

#[test]
fn pairs_that_cannot_be_direct_stay_on_the_relay() -> Result<()> {
    let nats = [Nat::Symmetric, Nat::Symmetric, Nat::NoUdp, Nat::None];
    let nodes = Nodes::new("mesh-nats-none", &nats)?;
    nodes.meet(0, 1)?;
    nodes.meet(2, 3)?;
    let (_, node, _) = &nodes.nodes[0];
    let said: serde_json::Value =
        serde_json::from_str(&node.nearwire(&["explain", "n1", "--json"])?)?;
    assert_eq!((&said["path"], said["changes"].as_u64()), (&"relay".into(), Some(1)), "{said}");
    Ok(())
}

#[test]
fn a_router_that_starts_anew_is_passed_again() -> Result<()> {
    let nodes = Nodes::new("mesh-nats-reboot", &[Nat::PortRestricted, Nat::PortRestricted])?;
    nodes.meet(0, 1)?;
    let ((_, a, routers), (_, b, _)) = (&nodes.nodes[0], &nodes.nodes[1]);
    let pinger = Pinger::start(&a.host, &b.address()?, EVERY)?;
    pinger.wait_for_more(10, SOON)?;
    // With its address goes all that it knew.
    nodes.hub.renumber(&routers[0])?;
    pinger.wait_for_more(20, SOON)?;
    wait_until(SOON, "a direct way again", || nodes.is_direct(0, 1) && nodes.is_direct(1, 0));
    let count = pinger.finish()?;
    // The direct way is left after some one and a half seconds, and the lane, which went through the same
    // router, is proven anew. The rest is for a busy machine.
    println!("{} echoes lost", count.lost());
    assert!(count.lost() <= 120, "{} echoes were lost", count.lost());
    Ok(())
}
