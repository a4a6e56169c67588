//! What goes in at one end of a tunnel comes out at the other as it was: nothing lost, nothing
//! changed, whatever offload does in between.

mod ecn;
mod forwarded;
mod lies;
mod options;
mod packet;
mod packets;
mod sizes;
mod streams;
mod super_packet;

use std::time::Duration;

use anyhow::Result;
use netns_tests::wireguard::{INNER_A, INNER_B, Implementation, Pairing, Tunnel};
use netns_tests::{Host, Lab, ping};

const SOON: Duration = Duration::from_secs(10);

/// Two tunnels that have shaken hands, ours in the first host.
fn talking<'h>([a, b]: &'h [Host; 2], theirs: Implementation) -> Result<[Tunnel<'h>; 2]> {
    let tunnels = [Tunnel::start(a, Implementation::Nearwire)?, Tunnel::start(b, theirs)?];
    Pairing::over_v4().connect(&tunnels[0], &tunnels[1])?;
    ping(a, INNER_B[0])?;
    ping(b, INNER_A[0])?;
    Ok(tunnels)
}

/// A client, a router and a server: the tunnel is between the first two, and what leaves it goes on
/// to the server over a link for which the router has to cut super-packets and finish checksums.
struct Road {
    client: Host,
    router: Host,
    server: Host,
    /// The server's interface.
    arrival: String,
}

impl Road {
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (client, router, server) =
            (lab.host("client")?, lab.router("router")?, lab.host("server")?);
        lab.link(&client, &router)
            .at_a(&["10.0.0.1/24", "fd00::1/64"])
            .at_b(&["10.0.0.2/24", "fd00::2/64"])
            .veth()?;
        let link = lab
            .link(&router, &server)
            .at_a(&["10.8.0.1/24", "fd08::1/64"])
            .at_b(&["10.8.0.2/24", "fd08::2/64"])
            .without_tx_checksum_offload()
            .veth()?;
        server.route("10.9.0.0/24", "10.8.0.1")?;
        server.route("fd09::/64", "fd08::1")?;
        Ok(Self { client, router, server, arrival: link.device_b })
    }

    /// The tunnels of client and router; the client reaches the server through them.
    fn tunnels(&self) -> Result<[Tunnel<'_>; 2]> {
        let start = |host| Tunnel::start(host, Implementation::Nearwire);
        let tunnels = [start(&self.client)?, start(&self.router)?];
        let [near, far] = &tunnels;
        Pairing::over_v4().connect(near, far)?;
        near.set(["peer", far.public_key(), "allowed-ips", "0.0.0.0/0,::/0"])?;
        for (family, network) in [("-4", "10.8.0.0/24"), ("-6", "fd08::/64")] {
            self.client.ip([family, "route", "add", network, "dev", near.name()])?;
        }
        for address in SERVER {
            ping(&self.client, address)?;
        }
        Ok(tunnels)
    }
}

/// The server at the end of a [`Road`].
const SERVER: [&str; 2] = ["10.8.0.2", "fd08::2"];
