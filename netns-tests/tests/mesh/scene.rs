//! Two nodes that are up.

use std::time::{Duration, Instant};

use anyhow::Result;
use netns_tests::mesh::{Hub, HubOptions, MeshNode};
use netns_tests::{Lab, Pinger, wait_until};

pub(crate) struct Scene {
    pub(crate) a: MeshNode,
    pub(crate) b: MeshNode,
    pub(crate) hub: Hub,
    pub(crate) lab: Lab,
}

/// Nodes reach each other without a relay, and there is none.
pub(crate) const DIRECT: HubOptions = HubOptions { forwards: true, relay: false };
/// Nodes reach each other by the relay only.
pub(crate) const RELAYED: HubOptions = HubOptions { forwards: false, relay: true };

impl Scene {
    pub(crate) fn new(name: &str, options: HubOptions) -> Result<Self> {
        let lab = Lab::new(name)?;
        let hub = Hub::start(&lab, options)?;
        let (a, b) = (hub.node(&lab, "a")?, hub.node(&lab, "b")?);
        let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
        for node in [&a, &b] {
            assert_eq!(node.up(&hub, &key, &[])?.trim(), "connected");
        }
        for (node, other) in [(&a, "b"), (&b, "a")] {
            node.wait_for(&format!("{other} as a peer"), |status| {
                status["peers"].as_array().is_some_and(|peers| {
                    peers.iter().any(|peer| {
                        peer["name"] == other && (options.relay || peer["online"] == true)
                    })
                })
            });
        }
        Ok(Self { a, b, hub, lab })
    }
}

/// How long after `since` the last answer came; none may come for half a second, within so long.
#[track_caller]
pub(crate) fn cut_after(pinger: &Pinger, since: Instant, patience: Duration) -> Duration {
    // The count stands still for half a second: it was cut at most that long before.
    let mut last = (pinger.answered(), since);
    wait_until(patience, "the cut", || {
        let answered = pinger.answered();
        if answered != last.0 {
            last = (answered, Instant::now());
        }
        last.1.elapsed() >= Duration::from_millis(500)
    });
    let cut = last.1.saturating_duration_since(since);
    println!("cut after {cut:?}");
    cut
}
