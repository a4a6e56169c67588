//! The host's network changes, or its machine stands still: traffic goes on.

use std::time::Duration;

use anyhow::Result;
use netns_tests::mesh::HubOptions;
use netns_tests::{Pinger, ping, wait_until};

use crate::scene::{DIRECT, RELAYED, Scene};

const SOON: Duration = Duration::from_secs(30);
const LATE: Duration = Duration::from_secs(90);

fn traffic_goes_on(name: &str, options: HubOptions, path: &str) -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new(name, options)?;
    ping(&a.host, &b.address()?)?;
    a.wait_for_path("b", path);
    let pinger = Pinger::start(&a.host, &b.address()?, Duration::from_millis(50))?;
    hub.renumber(&a.host)?;
    a.wait_for("its new address", |status| {
        let text = status["endpoints"].to_string();
        text.contains("10.1.0.77:") && !text.contains("10.1.0.1:")
    });
    pinger.wait_for_more(20, SOON)?;
    a.wait_for("connected again", |status| status["state"] == "connected");
    a.wait_for_path("b", path);
    pinger.wait_for_more(20, SOON)?;
    Ok(())
}

#[test]
fn a_host_that_moves_is_reached_directly() -> Result<()> {
    traffic_goes_on("mesh-moves", DIRECT, "direct")
}

#[test]
fn a_host_that_moves_is_reached_by_the_relay() -> Result<()> {
    traffic_goes_on("mesh-moves-relay", RELAYED, "relay")
}

#[test]
fn a_node_that_stood_still_goes_on() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-still", RELAYED)?;
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(50))?;
    a.stand_still(true)?;
    // Long enough that the relay has given it up.
    wait_until(LATE, "the relay gives the node up", || hub.homes().is_ok_and(|homes| homes == 1));
    a.stand_still(false)?;
    pinger.wait_for_more(20, SOON)?;
    a.wait_for("connected", |status| status["state"] == "connected");
    Ok(())
}
