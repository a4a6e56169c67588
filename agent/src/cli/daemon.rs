//! `nearwire daemon`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use dataplane_common::Shards;

use super::wg::Pins;
use crate::mesh::{self, rpc, store};

/// Serve the commands of a mesh node, and keep it up while it is to be
///
/// Runs in the foreground, for systemd. A node that was up comes up again by what it kept, also
/// while the control plane is away.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) socket: Socket,
    #[command(flatten)]
    pub(super) place: Place,
}

/// Where the daemon answers.
#[derive(clap::Args)]
pub(super) struct Socket {
    /// The socket of the daemon
    #[arg(long, value_name = "PATH", env = "NEARWIRE_SOCKET", default_value = rpc::SOCKET)]
    pub(super) socket: PathBuf,
}

/// What a daemon is started with.
#[derive(clap::Args)]
pub(super) struct Place {
    #[command(flatten)]
    state: State,
    /// Who may give commands beside root: a group, by name or number
    #[arg(long, value_name = "GROUP", env = "NEARWIRE_GROUP")]
    group: Option<String>,
    /// The interface to make
    #[arg(long, value_name = "IFNAME", env = "NEARWIRE_INTERFACE", default_value = "nearwire0")]
    interface: String,
    /// Threads that carry packets [default: one for each core]
    #[arg(long, value_name = "N", env = "NEARWIRE_SHARDS", value_parser = super::wg::shards)]
    shards: Option<Shards>,
    #[command(flatten)]
    pins: Pins,
    /// Answer Prometheus here, over plain HTTP: `127.0.0.1:9586`
    #[arg(long, value_name = "ADDR", env = "NEARWIRE_METRICS")]
    metrics: Option<SocketAddr>,
}

/// What a daemon keeps.
#[derive(clap::Args)]
pub(super) struct State {
    /// Where keys and netmap are kept
    #[arg(long, value_name = "DIR", env = "NEARWIRE_STATE", default_value = store::DIRECTORY)]
    pub(super) state: PathBuf,
}

impl Place {
    pub(super) fn options(self, socket: PathBuf) -> anyhow::Result<mesh::Options> {
        crate::io::tun::check_name(&self.interface)?;
        Ok(mesh::Options {
            state: self.state.state,
            socket,
            group: self.group.as_deref().map(group_id).transpose()?,
            interface: self.interface,
            shards: self.shards,
            pin_directory: self.pins.directory(),
            metrics: self.metrics,
        })
    }
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        mesh::run(self.place.options(self.socket.socket)?, None)
    }
}

/// A group's number.
fn group_id(text: &str) -> anyhow::Result<u32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group").context("cannot read /etc/group")?;
    groups
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&text))
        .and_then(|fields| fields.get(2)?.parse().ok())
        .with_context(|| format!("there is no group {text:?} in /etc/group"))
}
