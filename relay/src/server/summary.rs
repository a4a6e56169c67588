//! How a relay does, in short: for the program that it is a part of.

use super::Server;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Clients.
    pub clients: usize,
    /// Lanes between them.
    pub lanes: usize,
    /// Packets that left by lanes.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Interfaces on which the kernel switches, each with its mode.
    pub kernel: Vec<(String, String)>,
    /// Why it does not, or not everywhere.
    pub refused: Vec<String>,
}

impl Server {
    /// How it does; nothing if it has ended.
    pub async fn summary(&self) -> Option<Summary> {
        let report = self.hub.report().await.ok()?;
        let kernel = report.xdp.interfaces.into_iter().map(|at| (at.interface, at.mode));
        Some(Summary {
            clients: report.totals.clients,
            lanes: report.totals.lanes,
            packets: report.counters.lane_packets,
            bytes: report.counters.lane_bytes,
            kernel: kernel.collect(),
            refused: report.xdp.refused,
        })
    }
}
