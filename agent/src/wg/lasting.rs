//! What outlives a daemon that is killed: the interface, with its policy pinned to it.
//!
//! Without the interface there would be nothing to enforce the policy on, and what the host meant
//! for the tunnel would leave by another route. The next daemon takes both over.

use std::path::Path;

use anyhow::Context as _;
use dataplane::Pins;
use engine::HostOffload;

use crate::io::tun::{self, Queues, Tun};

/// The interface with its pins, until the daemon ends by itself and takes them along.
pub(super) struct Lasting {
    /// Keeps a hold of the interface. Dropped first: it must not be without its policy.
    interface: Option<tun::Persistent>,
    pins: Pins,
}

/// An interface to serve.
pub(super) struct Opened {
    pub(super) tun: Tun,
    pub(super) queues: Queues,
    /// Whether a daemon that was killed left it, with its policy.
    pub(super) taken_over: bool,
}

/// Makes the interface, or takes over the one that was left with a policy.
pub(super) fn open(
    name: &str,
    offload: HostOffload,
    queues: Queues,
    pins: Option<&Pins>,
) -> anyhow::Result<Opened> {
    let left = pins.is_some_and(Pins::hold_a_policy) && tun::interface_index(name).is_some();
    if !left {
        let tun = Tun::create(name, offload, queues)?;
        // Pins whose interface is gone are of no use to anybody.
        pins.map(Pins::remove).transpose()?;
        return Ok(Opened { tun, queues, taken_over: false });
    }
    // An interface with many queues serves one shard too, but not the other way round.
    let taken = Tun::take_over(name, offload, Queues::Many).map(|tun| (tun, Queues::Many));
    let taken = match (taken, queues) {
        (Err(_), Queues::One) => {
            Tun::take_over(name, offload, Queues::One).map(|tun| (tun, Queues::One))
        }
        (taken, _) => taken,
    };
    let (tun, queues) = taken.with_context(|| {
        format!(
            "cannot take over {name}, which a daemon with a policy left: if it had one shard, start \
             with --shards 1; or remove it (ip link del {name})"
        )
    })?;
    tracing::info!(interface = name, "taken over, with its policy and its flows");
    Ok(Opened { tun, queues, taken_over: true })
}

/// The directory for pins, if there is to be one. Without it the policy works as well, until the
/// daemon ends.
pub(super) fn pins(directory: Option<&Path>, interface: &str) -> Option<Pins> {
    Pins::at(directory?, interface)
        .inspect_err(|error| {
            tracing::warn!(%error, "the policy is not pinned: it ends with this daemon");
        })
        .ok()
}

impl Lasting {
    /// Makes the interface last, now that its policy is pinned.
    pub(super) fn new(tun: &Tun, pins: Pins) -> anyhow::Result<Self> {
        let interface = tun.persist().context("cannot make the interface outlive the daemon")?;
        Ok(Self { interface: Some(interface), pins })
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        self.interface = None;
        if let Err(error) = self.pins.remove() {
            tracing::warn!(%error, "the pinned policy stays behind");
        }
    }
}
