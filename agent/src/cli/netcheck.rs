//! `nearwire netcheck`.

use std::process::ExitCode;

use super::daemon::Socket;
use super::format::Format;
use crate::mesh::rpc::Caller;
use crate::mesh::{MappingReport, NetReport};

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

fn mapping(report: &MappingReport) -> String {
    let state = match report.state.as_str() {
        "none" | "unasked" => "none",
        state => state,
    };
    let granted = report.method.as_ref().zip(report.external);
    match (granted, &report.reason) {
        (Some((method, at)), _) => format!("{at}, by {method}"),
        (None, Some(reason)) => format!("{state}: {reason}"),
        (None, None) => state.to_owned(),
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
    println!("mapping   {}", mapping(&report.mapping));
    println!("seen at   {}", list(&report.seen));
    println!("told      {}", list(&report.endpoints));
    for region in &report.regions {
        match region.rtt_ms {
            Some(ms) => println!("region    {}: {ms:.1} ms", region.name),
            None => println!("region    {}: no answer", region.name),
        }
    }
}
