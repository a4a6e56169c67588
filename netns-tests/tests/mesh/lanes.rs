//! By which way packets go through a relay: a lane where UDP passes, else QUIC, at last TLS.

use std::time::Duration;

use anyhow::Result;
use netns_tests::{Pinger, ping, tcp_transfer};

use crate::scene::{RELAYED, Scene};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_pair_uses_a_lane_then_quic_then_tls_as_ports_are_closed() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-lanes", RELAYED)?;
    let at_b = b.address()?;
    ping(&a.host, &at_b)?;
    let pinger = Pinger::start(&a.host, &at_b, Duration::from_millis(50))?;
    let by = |way: &str| {
        for (node, other) in [(&a, "b"), (&b, "a")] {
            node.wait_for(&format!("{other} by {way}"), |status| {
                let peers = status["peers"].as_array();
                peers.is_some_and(|peers| {
                    peers.iter().any(|peer| peer["name"] == other && peer["carrier"] == way)
                })
            });
        }
    };
    by("lane");
    assert!(a.nearwire(&["status"])?.contains("relay hub by lane"));
    tcp_transfer(&a.host, &b.host, at_b.parse()?, 16 << 20, SOON)?;
    pinger.wait_for_more(10, SOON)?;

    let close = |port: &str| {
        hub.host.run(["nft", &format!("add rule inet closed in udp dport {port} drop")])
    };
    hub.host
        .run(["nft", "table inet closed { chain in { type filter hook input priority 0; }; }"])?;
    close("3478")?;
    by("QUIC");
    pinger.wait_for_more(10, SOON)?;
    close("443")?;
    by("TLS");
    pinger.wait_for_more(10, SOON)?;
    tcp_transfer(&a.host, &b.host, at_b.parse()?, 4 << 20, SOON)?;

    hub.host.run(["nft", "delete table inet closed"])?;
    by("lane");
    pinger.wait_for_more(10, SOON)?;
    Ok(())
}
