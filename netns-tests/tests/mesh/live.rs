//! TCP, questions and answers, and datagrams go on through all that may happen to the ways between two
//! nodes.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::mesh::{Hindrance, Hub, HubOptions, MeshNode, Nat, Spread};
use netns_tests::{
    Lab, Pace, SteadyDatagrams, SteadyQuestions, SteadyStream, answers, ping, wait_until,
};

use crate::scene::Scene;

const BOTH: HubOptions = HubOptions { forwards: true, relay: true };
const APART: HubOptions = HubOptions { forwards: false, relay: false };
const SOON: Duration = Duration::from_secs(60);
const CALM: Duration = Duration::from_secs(1);
/// What a busy machine adds to what is measured at rest, generously.
const BUSY: Duration = Duration::from_secs(2);

/// All that flows between two nodes.
struct Load {
    stream: SteadyStream,
    questions: SteadyQuestions,
    datagrams: [SteadyDatagrams; 2],
}

/// What became of it.
#[derive(Debug)]
#[allow(dead_code, reason = "printed")]
struct Felt {
    stream: Duration,
    answer: Duration,
    datagrams: Duration,
    lost: u64,
}

impl Load {
    fn start(a: &MeshNode, b: &MeshNode) -> Result<Self> {
        let at = |node: &MeshNode| -> Result<SocketAddr> {
            Ok(SocketAddr::new(node.address()?.parse()?, 0))
        };
        let (at_a, at_b) = (at(a)?, at(b)?);
        let load = Self {
            stream: SteadyStream::start(&a.host, &b.host, at_b)?,
            questions: SteadyQuestions::start(&b.host, &a.host, at_a)?,
            datagrams: [
                SteadyDatagrams::start(&a.host, &b.host, at_b, Pace::SLOW)?,
                SteadyDatagrams::start(&b.host, &a.host, at_a, Pace::SLOW)?,
            ],
        };
        wait_until(SOON, "datagrams", || load.datagrams.iter().all(|one| one.arrived() > 200));
        Ok(load)
    }

    /// Ends it: no connection was reset, and no byte of the stream is missing. Says what was felt.
    fn finish(self, what: &str) -> Result<Felt> {
        let (_, stream) = self.stream.finish().context("the stream")?;
        let (_, answer) = self.questions.finish().context("questions and answers")?;
        let [there, back] = self.datagrams;
        let (there, back) = (there.finish()?, back.finish()?);
        let datagrams = there.gap.max(back.gap);
        let felt = Felt { stream, answer, datagrams, lost: there.lost() + back.lost() };
        println!("{what}: {felt:?}");
        Ok(felt)
    }
}

/// Has both be up, with each other as a peer and a relay at which they are at home.
fn bring_up(nodes: [&MeshNode; 2], hub: &Hub, key: &str) -> Result<()> {
    for node in nodes {
        node.up(hub, key, &[])?;
    }
    for node in nodes {
        node.wait_for("a peer and a home", |status| {
            !status["relay"].is_null() && status["peers"][0]["name"].is_string()
        });
    }
    Ok(())
}

/// Waits until both reach each other so.
fn both_go(a: &MeshNode, b: &MeshNode, path: &str) {
    a.wait_for_path("b", path);
    b.wait_for_path("a", path);
}

#[test]
fn a_direct_way_that_opens_costs_nothing_and_one_that_is_blocked_two_seconds() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-live-ways", BOTH)?;
    hub.hinder(Some(Hindrance::All))?;
    ping(&a.host, &b.address()?)?;
    a.wait_for_path("b", "relay");
    let load = Load::start(&a, &b)?;
    hub.hinder(None)?;
    both_go(&a, &b, "direct");
    sleep(CALM);
    let felt = load.finish("upgrade")?;
    assert_eq!(felt.lost, 0, "{felt:?}");

    let load = Load::start(&a, &b)?;
    hub.hinder(Some(Hindrance::All))?;
    both_go(&a, &b, "relay");
    sleep(CALM);
    let felt = load.finish("downgrade")?;
    assert!(felt.datagrams <= Duration::from_secs(2) + BUSY, "{felt:?}");
    Ok(())
}

/// Two nodes that reach each other by these relays only.
fn by_relays(name: &str, spread: Spread) -> Result<(MeshNode, MeshNode, Hub, Lab)> {
    let lab = Lab::new(name)?;
    let mut hub = Hub::start(&lab, APART)?;
    hub.spread_relays(2, spread)?;
    let (a, b) = (hub.node(&lab, "a")?, hub.node(&lab, "b")?);
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    bring_up([&a, &b], &hub, &key)?;
    let at_b = b.address()?;
    // Its home may be another in the first seconds, and then the first packet lost.
    wait_until(SOON, "an echo", || answers(&a.host, &at_b, CALM).unwrap_or(false));
    a.wait_for_path("b", "relay");
    Ok((a, b, hub, lab))
}

/// The relay that serves a node, of those of this spread.
fn home_of(node: &MeshNode, spread: Spread) -> Result<usize> {
    let region = node.status()?["relay"]["region"].as_u64().context("no home")?;
    // Regions are numbered from one, and the relays of one are taken in order.
    Ok(if spread == Spread::Regions { usize::try_from(region)? - 1 } else { 0 })
}

fn a_relay_dies(name: &str, spread: Spread) -> Result<()> {
    let (a, b, hub, _lab) = by_relays(name, spread)?;
    let load = Load::start(&a, &b)?;
    sleep(CALM);
    hub.kill_relay(home_of(&a, spread)?)?;
    sleep(CALM * 8);
    let felt = load.finish(name).with_context(|| format!("{}\n{}", a.log(), b.log()))?;
    assert!(felt.datagrams <= Duration::from_millis(500) + BUSY, "{felt:?}\n{}", a.log());
    Ok(())
}

#[test]
fn a_relay_that_is_killed_is_replaced_by_another_of_its_region() -> Result<()> {
    a_relay_dies("mesh-live-kill", Spread::OneRegion)
}

#[test]
fn a_relay_that_is_killed_is_replaced_by_one_of_another_region() -> Result<()> {
    a_relay_dies("mesh-live-kill-region", Spread::Regions)
}

#[test]
fn a_relay_that_drains_stops_nothing() -> Result<()> {
    let (a, b, hub, _lab) = by_relays("mesh-live-drain", Spread::OneRegion)?;
    let load = Load::start(&a, &b)?;
    sleep(CALM);
    hub.drain_relay(0)?;
    sleep(CALM * 5);
    let felt = load.finish("drain")?;
    // A connection that is new drops some when this machine is busy.
    assert!(felt.lost <= 40 && felt.datagrams <= BUSY, "{felt:?}");
    Ok(())
}

#[test]
fn a_host_that_gets_another_address_is_back_soon() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-live-address", BOTH)?;
    ping(&a.host, &b.address()?)?;
    both_go(&a, &b, "direct");
    let load = Load::start(&a, &b)?;
    hub.renumber(&a.host)?;
    sleep(CALM * 5);
    let felt = load.finish("another address")?;
    assert!(felt.datagrams <= Duration::from_millis(500) + BUSY, "{felt:?}");
    Ok(())
}

#[test]
fn a_router_that_starts_anew_costs_some_seconds() -> Result<()> {
    let lab = Lab::new("mesh-live-router")?;
    let hub = Hub::start(&lab, BOTH)?;
    let (a, routers) = hub.node_behind(&lab, "a", Nat::PortRestricted)?;
    let (b, _others) = hub.node_behind(&lab, "b", Nat::PortRestricted)?;
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    bring_up([&a, &b], &hub, &key)?;
    ping(&a.host, &b.address()?)?;
    both_go(&a, &b, "direct");
    let load = Load::start(&a, &b)?;
    hub.renumber(&routers[0])?;
    sleep(CALM * 5);
    both_go(&a, &b, "direct");
    let felt = load.finish("another address of the router")?;
    assert!(felt.datagrams <= Duration::from_secs(2) + BUSY, "{felt:?}");
    Ok(())
}
