//! `nearwire netcheck`.

use std::process::ExitCode;

use super::daemon::Socket;
use super::format::Format;
use crate::mesh::rpc::Caller;
use crate::mesh::{MappingReport, NetReport};

/// Say what this host's network lets through: UDP, IPv4 and IPv6, what its NAT and its router do, whether
/// something wants a log-in first, and how far relays are
///
/// What relays have seen in the last seconds, and what the host finds out by itself in some three seconds.
///
/// NAT: `none`, `easy` (one port for all), `hard` (another for each destination), and on what of the destination
/// its port depends. filtering: whom it lets in: everybody (`endpoint-independent`), addresses that were sent to
/// (`address-dependent`), or their ports only (`address-and-port-dependent`). A relay with a second address shows
/// it (RFC 5780); without one it shows only where the router brings back what is sent to itself (hairpin), and
/// then `closed` is one of the latter two. mapping: where the router lets peers in, as this node has asked it to (PCP, NAT-PMP, UPnP).
/// portal: `yes` if something else than the control plane's host answers for it and sends to another place.
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
    if let Some(prefix) = &report.nat64 {
        println!("NAT64     {prefix}");
    }
    match report.nat_mapping.as_str() {
        "" | "none" | "unknown" => println!("NAT       {}", report.nat),
        mapping => println!("NAT       {} (mapping {mapping})", report.nat),
    }
    println!("filtering {}", report.filtering);
    println!("hairpin   {}", report.hairpin);
    println!("mapping   {}", mapping(&report.mapping));
    println!("control   {}", report.control);
    match &report.portal_url {
        Some(url) => println!("portal    {}: {url}", report.captive_portal),
        None => println!("portal    {}", report.captive_portal),
    }
    println!("seen at   {}", list(&report.seen));
    println!("told      {}", list(&report.endpoints));
    for region in &report.regions {
        match region.rtt_ms {
            Some(ms) => println!("region    {}: {ms:.1} ms", region.name),
            None => println!("region    {}: no answer", region.name),
        }
    }
}
