//! What the contestants are made to do. Each work has its own hosts, so that one that goes wrong
//! spoils no other.

pub(super) mod latency;
pub(super) mod peers;
pub(super) mod tcp;
pub(super) mod udp;

use anyhow::Result;
use clap::ValueEnum;
use netns_tests::Lab;
use netns_tests::wireguard::wired_hosts;

use super::ends::Ends;
use super::field::Contestant;
use super::measures::{MEMORY, Measure, Sample};

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// TCP throughput, and what it costs
    Tcp,
    /// Packets a second, and what they cost
    Udp,
    /// Round trips, idle and beside TCP
    Latency,
    /// One end with a thousand peers
    Peers,
}

impl Work {
    pub(super) const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Latency, Self::Peers];

    /// What it finds.
    pub(super) fn measures(self) -> &'static [Measure] {
        match self {
            Self::Tcp => tcp::MEASURES,
            Self::Udp => udp::MEASURES,
            Self::Latency => latency::MEASURES,
            Self::Peers => peers::MEASURES,
        }
    }

    /// Whether a contestant can do it: a bare link has no peers.
    pub(super) fn takes(self, contestant: &Contestant) -> bool {
        self != Self::Peers || contestant.tunnel.is_some()
    }

    /// Does it once.
    pub(super) fn measure(self, contestant: &Contestant) -> Result<Vec<Sample>> {
        if let (Self::Peers, Some(recipe)) = (self, &contestant.tunnel) {
            return peers::measure(recipe);
        }
        let hosts = wired_hosts(&Lab::new("bench")?)?;
        let ends = Ends::raise(&hosts, contestant)?;
        let mut found = match self {
            Self::Tcp => tcp::measure(&ends)?,
            Self::Udp => udp::measure(&ends)?,
            Self::Latency => match contestant.busy_polling() {
                Some(busy) => {
                    let hosts = wired_hosts(&Lab::new("busy")?)?;
                    latency::measure(&ends, Some(&Ends::raise(&hosts, &busy)?))?
                }
                None => latency::measure(&ends, None)?,
            },
            Self::Peers => Vec::new(),
        };
        found.extend(ends.peak_memory()?.map(|memory| (MEMORY, memory)));
        Ok(found)
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Latency => "latency",
            Self::Peers => "many peers",
        })
    }
}
