//! `nearwire netcheck`.

use std::process::ExitCode;

use super::daemon::Socket;
use super::format::Format;
use crate::mesh::NetReport;
use crate::mesh::rpc::Caller;

/// Say what this host's network lets through: UDP, IPv4 and IPv6, what its NAT does, and how far relays are
///
/// It is what the relays have seen in the last seconds; without relays nothing is known.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.format.print(&Caller::connect(&self.socket.socket)?.netcheck()?, show)
    }
}

fn show(report: &NetReport) {
    let yes = |is: bool| if is { "yes" } else { "no" };
    let list = |addresses: &[std::net::SocketAddr]| {
        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        if texts.is_empty() { "none".to_owned() } else { texts.join(" ") }
    };
    println!("UDP       {}", yes(report.udp));
    println!("IPv4      {}", yes(report.v4));
    println!("IPv6      {}", yes(report.v6));
    println!("NAT       {}", report.nat);
    println!("seen at   {}", list(&report.seen));
    println!("told      {}", list(&report.endpoints));
    for region in &report.regions {
        match region.rtt_ms {
            Some(ms) => println!("region    {}: {ms:.1} ms", region.name),
            None => println!("region    {}: no answer", region.name),
        }
    }
}
