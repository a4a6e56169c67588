//! How a relay does, in short: for the program that it is a part of.

use super::Server;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Clients.
    pub clients: usize,
    /// Lanes between them.
    pub lanes: usize,
    /// Ends of lanes that have proven an address.
    pub bound: usize,
    /// Packets that left by lanes.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the packets, those that the kernel has switched.
    pub kernel_packets: u64,
    /// Connections that were refused, by the reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Interfaces on which the kernel switches, each with its mode.
    pub kernel: Vec<(String, String)>,
    /// Why it does not, or not everywhere.
    pub user_space: Vec<String>,
}

impl Server {
    /// How it does; nothing if it has ended.
    pub async fn summary(&self) -> Option<Summary> {
        let report = self.hub.report().await.ok()?;
        let kernel = report.xdp.interfaces.into_iter().map(|at| (at.interface, at.mode));
        Some(Summary {
            clients: report.totals.clients,
            lanes: report.totals.lanes,
            bound: report.bound,
            packets: report.counters.lane_packets,
            bytes: report.counters.lane_bytes,
            kernel_packets: report.kernel.map_or(0, |kernel| kernel.totals.packets),
            refused: self.tally.turned().refused(&report.counters).collect(),
            kernel: kernel.collect(),
            user_space: report.xdp.refused,
        })
    }
}
