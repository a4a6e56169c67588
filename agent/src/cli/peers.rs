//! `nearwire peers`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use super::daemon::Socket;
use super::status::table;
use crate::mesh::PeerStatus;
use crate::mesh::rpc::Caller;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    socket: Socket,
    /// JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// All peers
    List,
    /// How many there are, and how many of them by which path
    Count,
    /// One peer, by name, address, key or id
    Get {
        #[arg(value_name = "PEER")]
        peer: String,
    },
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let peers = Caller::connect(&self.socket.socket)?.status()?.peers;
        match &self.what {
            What::List if self.json => println!("{}", serde_json::to_string(&peers)?),
            What::List => table(&peers),
            What::Count => self.count(&peers)?,
            What::Get { peer } => {
                let found = find(&peers, peer)?;
                if self.json {
                    println!("{}", serde_json::to_string(found)?);
                } else {
                    show(found);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn count(&self, peers: &[PeerStatus]) -> anyhow::Result<()> {
        let by = |path: &str| peers.iter().filter(|peer| peer.path == path).count();
        let (all, direct, relay) = (peers.len(), by("direct"), by("relay"));
        let peer_relay = by("peer-relay");
        if self.json {
            let counts = serde_json::json!({
                "peers": all, "direct": direct, "peer_relay": peer_relay, "relay": relay,
            });
            println!("{}", serde_json::to_string(&counts)?);
        } else {
            println!("{all} peers, {direct} direct, {peer_relay} by peer relay, {relay} by relay");
        }
        Ok(())
    }
}

/// The peer that a name, address, key or id means.
pub(super) fn find<'p>(peers: &'p [PeerStatus], text: &str) -> anyhow::Result<&'p PeerStatus> {
    let address = text.parse().ok();
    peers
        .iter()
        .find(|peer| {
            peer.name == text
                || peer.node == text
                || peer.key == text
                || address.is_some_and(|address| peer.addresses.contains(&address))
        })
        .with_context(|| {
            format!("no peer {text:?}: there is none, or the policy does not let you reach it")
        })
}

fn show(peer: &PeerStatus) {
    let join = |texts: &[String]| texts.join(" ");
    let addresses: Vec<_> = peer.addresses.iter().map(ToString::to_string).collect();
    println!("name       {}", peer.name);
    println!("id         {}", peer.node);
    println!("addresses  {}", join(&addresses));
    println!("routes     {}", join(&peer.routes));
    println!("key        {}", peer.key);
    println!("online     {}", if peer.online { "yes" } else { "no" });
    println!("path       {}", peer.way());
    if let Some(seconds) = peer.handshake {
        println!("handshake  {seconds} s ago");
    }
    if let Some(ms) = peer.rtt_ms {
        println!("RTT        {ms:.1} ms");
    }
    println!("sent       {} bytes", peer.sent);
    println!("received   {} bytes", peer.received);
}
