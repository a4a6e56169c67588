//! One end with a thousand peers, each of which has a session and sends: small packets from all of
//! them in turn, as fast as it goes. Beside it the same from a single peer.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use netns_tests::wireguard::wired_hosts;
use netns_tests::{Lab, RemotePeers};

use crate::bench::tunnel::ends::peak_memory;
use crate::bench::tunnel::field::Recipe;
use crate::bench::tunnel::measures::{Measure, Sample};

const ONE: Measure = Measure::more("UDP, 64 bytes, flood of 1 peer, delivered", "packets/s");
const MANY: Measure = Measure::more("UDP, 64 bytes, flood of 1000 peers, delivered", "packets/s");
const MEMORY: Measure = Measure::less("peak memory, 1000 peers", "MiB");

pub(super) const MEASURES: &[Measure] = &[ONE, MANY, MEMORY];

const PAYLOAD: usize = 64;
const FLOOD: Duration = Duration::from_secs(1);

pub(super) fn measure(recipe: &Recipe) -> Result<Vec<Sample>> {
    let (one, _) = flood(recipe, 1)?;
    let (many, memory) = flood(recipe, 1000)?;
    Ok(vec![(ONE, one), (MANY, many), (MEMORY, memory)])
}

/// Packets delivered a second, and the tunnel's peak memory in MiB.
fn flood(recipe: &Recipe, peers: usize) -> Result<(f64, f64)> {
    let [far, near] = wired_hosts(&Lab::new("bench")?)?;
    let tunnel = recipe.start(&near)?;
    tunnel.configure(&["10.9.0.2/24"])?;
    let at = SocketAddr::from(([10, 0, 0, 2], tunnel.port()));
    let mut peers = RemotePeers::connect(&far, &tunnel, at, peers)?;
    let to = SocketAddr::from(([10, 9, 0, 2], 7009));
    let delivery = peers.flood(&near, to, PAYLOAD, FLOOD)?;
    ensure!(delivery.in_time > 0, "of {} packets of UDP none arrived", delivery.sent);
    Ok((delivery.delivered(), peak_memory(&tunnel)?))
}
