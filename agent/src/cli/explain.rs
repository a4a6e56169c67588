//! `nearwire explain`.

use std::process::ExitCode;
use std::time::Duration;

use super::daemon::Socket;
use super::format::Format;
use super::peers::find;
use crate::mesh::rpc::Caller;
use crate::mesh::{PathReport, PeerStatus};

/// Say which way packets to a peer take, and why no other
///
/// It names every direct way that is known, how often it was asked and answered, and why it is used or
/// not. Ways are looked for while there is traffic: `nearwire ping PEER --until-direct` makes some.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The peer, by name, address, key or id
    #[arg(value_name = "PEER")]
    peer: String,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut caller = Caller::connect(&self.socket.socket)?;
        let status = caller.status()?;
        let peer = find(&status.peers, &self.peer)?;
        let report = caller.explain(&peer.node)?;
        self.format.print(&report, |report| show(peer, report))
    }
}

fn show(peer: &PeerStatus, report: &PathReport) {
    println!("{}: {}, for {} s", peer.name, peer.way(), report.since);
    if let Some(lost) = report.lost_permille {
        println!("lost on it: {:.1} % of the last packets", f64::from(lost) / 10.0);
    }
    println!("changes so far: {}", report.changes);
    println!("packets of up to {} bytes fit", report.fits);
    if let Some(pause) = report.keepalive_ms {
        let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
        let why = report.lapsed_ms.map_or_else(String::new, |lapsed| {
            format!(": a NAT has forgotten it after {} s", seconds(lapsed))
        });
        println!("pinged every {} s while it is quiet{why}", seconds(pause));
    }
    if report.stuck > 0 {
        println!("dropped for want of a way that is allowed: {} packets", report.stuck);
    }
    if !report.active {
        println!("there is no traffic, so no direct way is looked for");
    }
    for route in &report.routes {
        let rtt = route.rtt_ms.map_or_else(String::new, |ms| format!(" {ms:.1} ms,"));
        let to = route.relay.as_ref().map_or_else(
            || format!("{} ({})", route.to, route.origin),
            |relay| format!("peer relay {relay}"),
        );
        println!(
            "  {to}:{rtt} {} of {} pings answered: {}",
            route.pongs, route.pings, route.verdict
        );
    }
    if report.routes.is_empty() {
        println!("  no direct way is known: the peer has told of none");
    }
}
