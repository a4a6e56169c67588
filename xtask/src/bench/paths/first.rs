//! The first packet between two nodes that are up and never spoke.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netns_tests::mesh::{Nat, Programs};
use netns_tests::{UdpEcho, udp_round_trip, udp_socket};

use super::scene::{PATIENCE, Scene};
use super::{Found, ms};
use crate::bench::samples::{Measure, NEARWIRE, Samples};
use crate::bench::{Against, Reach, Row, median};

/// Each pair of them has one first packet.
const NODES: usize = 4;
const HUB: &str = "10.255.0.1:7";

fn measures() -> [Measure; 2] {
    let packet = Measure::new("first packet from cold, one way", "ms");
    [packet, Measure::new("2 RTT to the relay and a handshake", "ms")]
}

pub(super) fn measure(programs: &Programs) -> Result<Vec<Found>> {
    let scene = Scene::with(programs, &[Nat::None; NODES])?;
    let echo = UdpEcho::start(&scene.hub.host, HUB.parse()?)?;
    let [packet, bound] = measures();
    let mut found = Vec::new();
    for a in 0..NODES {
        for b in a + 1..NODES {
            let near = |node: usize| -> Result<Duration> {
                let host = &scene.nodes[node].host;
                // The first may have to ask for the way on the link.
                udp_round_trip(host, echo.address(), b"there and back", PATIENCE)?;
                udp_round_trip(host, echo.address(), b"there and back", PATIENCE)
            };
            let (one, other) = (near(a)?, near(b)?);
            found.push((packet.clone(), ms(first(&scene, a, b)?)));
            // A handshake goes from node to node and back: to the relay and back for each of them.
            found.push((bound.clone(), ms(one * 2 + one + other)));
        }
    }
    Ok(found)
}

fn first(scene: &Scene, a: usize, b: usize) -> Result<Duration> {
    let at = SocketAddr::from((scene.address(b)?, 0));
    let receiver = udp_socket(&scene.nodes[b].host, at)?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let sender = udp_socket(&scene.nodes[a].host, "0.0.0.0:0".parse()?)?;
    let start = Instant::now();
    sender.send_to(b"the first", receiver.local_addr()?)?;
    receiver.recv(&mut [0; 16]).context("the first packet did not arrive")?;
    Ok(start.elapsed())
}

pub(super) fn rows(samples: &Samples) -> Vec<Row> {
    let [packet, bound] = measures();
    let value = median(&samples.of(&bound, NEARWIRE));
    let against = Some(Against { name: bound.name().to_owned(), value });
    let times = samples.of(&packet, NEARWIRE);
    vec![Row::new(packet.name(), "ms", times, against, Some(Reach::AtMost(1.0)))]
}
