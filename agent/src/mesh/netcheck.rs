//! What is known of the host's network.

use std::net::SocketAddr;

use engine::Timestamp;
use proto::control::Netmap;
use serde::{Deserialize, Serialize};

use super::mapping::MappingReport;
use super::whereabouts::Whereabouts;

/// The whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct NetReport {
    /// Whether a relay has answered by UDP.
    pub(crate) udp: bool,
    pub(crate) v4: bool,
    pub(crate) v6: bool,
    /// `none`, `easy` (one port for all), `hard` (another for each destination) or `unknown`.
    pub(crate) nat: String,
    /// Whether the router lets peers in.
    #[serde(default)]
    pub(crate) mapping: MappingReport,
    /// Where relays see the WireGuard port.
    pub(crate) seen: Vec<SocketAddr>,
    /// Where peers are told to try.
    pub(crate) endpoints: Vec<SocketAddr>,
    pub(crate) regions: Vec<RegionReport>,
}

/// How far a region is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RegionReport {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rtt_ms: Option<f64>,
}

impl NetReport {
    pub(super) fn new(
        whereabouts: &Whereabouts,
        netmap: Option<&Netmap>,
        mapping: MappingReport,
        now: Timestamp,
    ) -> Self {
        let seen = whereabouts.seen();
        let endpoints = whereabouts.endpoints().to_vec();
        let regions = netmap.iter().flat_map(|netmap| &netmap.regions).map(|region| {
            let time = whereabouts.distance(region.id, now);
            let rtt_ms = time.map(|time| time.as_secs_f64() * 1000.0);
            RegionReport { name: region.name.clone(), rtt_ms }
        });
        let regions = regions.collect();
        let nat = match whereabouts.is_hard() {
            _ if whereabouts.is_open() == Some(true) => "none",
            Some(true) => "hard",
            Some(false) => "easy",
            None => "unknown",
        };
        Self {
            udp: !seen.is_empty(),
            v4: seen.iter().any(SocketAddr::is_ipv4),
            v6: seen.iter().any(SocketAddr::is_ipv6),
            nat: nat.to_owned(),
            mapping,
            seen,
            endpoints,
            regions,
        }
    }
}
