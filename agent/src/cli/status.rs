//! `nearwire status`.

use std::process::ExitCode;
use std::time::Duration;

use super::daemon::Socket;
use super::format::Format;
use crate::mesh::rpc::Caller;
use crate::mesh::{PeerStatus, Status};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: Socket,
    #[command(flatten)]
    format: Format,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.format.print(&Caller::connect(&self.socket.socket)?.status()?, show)
    }
}

fn show(status: &Status) {
    let Status { state, control, .. } = status;
    match &status.reason {
        Some(reason) if state == "offline" => {
            println!("offline, working by the last netmap: {reason}");
        }
        Some(reason) => println!("{state}: {reason}"),
        None => println!("{state}"),
    }
    if status.interface.is_empty() {
        return;
    }
    println!("control   {control}");
    if !status.name.is_empty() {
        let addresses: Vec<_> = status.addresses.iter().map(ToString::to_string).collect();
        println!("node      {} in {}, {}", status.name, status.network, addresses.join(" "));
    }
    let (revision, generation) = (status.revision, status.generation);
    println!("interface {}, revision {revision}, policy generation {generation}", status.interface);
    match &status.relay {
        Some(home) => println!("relay     {} by {}", home.relay, home.carrier),
        None => println!("relay     none"),
    }
    if let Some(peer_relay) = &status.peer_relay {
        println!("relays    {}", peer_relay.line());
    }
    if let Some(resolver) = status.resolver {
        println!("names     *.{}, answered at {}", status.domain, resolver.ip());
    }
    for refused in &status.refused_routes {
        println!("not used  {} of {}: {}", refused.route, refused.peer, refused.reason);
    }
    for warning in &status.warnings {
        println!("warning   {warning}");
    }
    println!();
    table(&status.peers);
}

/// Peers, a line each.
pub(super) fn table(peers: &[PeerStatus]) {
    if peers.is_empty() {
        println!("no peers");
        return;
    }
    let name = peers.iter().map(|peer| peer.name.len()).max().unwrap_or(0).max(4);
    println!(
        "{:name$}  {:15}  {:28}  {:>9}  {:>8}  {:>10}  {:>10}",
        "name", "address", "path", "handshake", "RTT", "sent", "received"
    );
    for peer in peers {
        let address = peer.addresses.first().map(ToString::to_string).unwrap_or_default();
        let handshake = peer.handshake.map_or_else(
            || "-".to_owned(),
            |seconds| humantime::format_duration(Duration::from_secs(seconds)).to_string(),
        );
        let rtt = peer.rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        let (sent, received) = (bytes(peer.sent), bytes(peer.received));
        println!(
            "{:name$}  {address:15}  {:28}  {handshake:>9}  {rtt:>8}  {sent:>10}  {received:>10}",
            peer.name,
            peer.way()
        );
    }
}

/// A number of bytes, for people to read.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scale = 1_u64;
    while unit + 1 < UNITS.len() && count / scale >= 1024 {
        unit += 1;
        scale *= 1024;
    }
    if unit == 0 {
        return format!("{count} B");
    }
    let tenths = u128::from(count) * 10 / u128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn numbers_of_bytes_are_short() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16777215.9 TiB")];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }
}
