//! `nearwire up`.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use paths::Rule;
use proto::control::AuthKey;

use super::daemon::{Place, Socket};
use super::format::Format;
use crate::mesh::rpc::{Caller, Outcome, Request};
use crate::mesh::{self, Settings, Up};

/// Exit code: an operator has to approve the node.
const PENDING: u8 = 3;
/// Exit code: the control plane is away; the node is up by what it knew.
const OFFLINE: u8 = 4;

/// The port of a peer relay, if none is said.
const PEER_RELAY_PORT: &str = "41642";

/// Come into a mesh, or change how this node is in it
///
/// The first time it takes an enrolment key; later none. What is not said is off: a second
/// `nearwire up` without --accept-routes accepts none.
///
/// Exit codes: 0 connected, 1 failed, 2 wrong usage, 3 waits for an operator's approval, 4 the control
/// plane is away and the node is up by what it knew.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The address of the control plane: `https://control.example.com`
    #[arg(long, value_name = "URL", env = "NEARWIRE_CONTROL")]
    control: String,
    /// The enrolment key, or `-` to read it from standard input
    #[arg(long, value_name = "KEY", env = "NEARWIRE_AUTH_KEY", hide_env_values = true)]
    auth_key: Option<String>,
    /// Believe the certificates of this file, in place of the host's
    #[arg(long, value_name = "FILE", env = "NEARWIRE_CA")]
    ca: Option<PathBuf>,
    /// What the node would like to be called [default: the host's name]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Offer these networks behind this node; an operator approves them
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    advertise_routes: Vec<IpNet>,
    /// Offer to take others' packets to everywhere; an operator approves it
    #[arg(long, conflicts_with = "exit_node")]
    advertise_exit_node: bool,
    /// Relay packets for nodes of the network that cannot reach each other directly, as far as the policy
    /// grants it to them: at this TCP port (their connections) and UDP port (their packets), which have to be
    /// open to them
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = PEER_RELAY_PORT,
        value_parser = clap::value_parser!(u16).range(1..),
        conflicts_with = "exit_node"
    )]
    peer_relay: Option<u16>,
    /// Reach everything that is not in the mesh through this node: its name, address or id
    #[arg(long, value_name = "NODE")]
    exit_node: Option<String>,
    /// Reach networks behind other nodes through them
    #[arg(long)]
    accept_routes: bool,
    /// Leave the host's resolver alone: names of the mesh are not found
    #[arg(long)]
    no_names: bool,
    /// The UDP port of WireGuard [default: the one that it had, else any]
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Do not ask the router to let peers in (PCP, NAT-PMP, UPnP)
    #[arg(long)]
    no_port_mapping: bool,
    /// Use only these ways to peers: `any`, `relay` (peers do not learn this node's addresses by its
    /// packets) or `direct` (without a direct way, packets go nowhere)
    #[arg(long, value_name = "WAYS", default_value = "any", value_parser = rule)]
    path: Rule,
    /// Be the daemon too, in the foreground
    #[arg(short, long, conflicts_with = "json")]
    foreground: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    socket: Socket,
    #[command(flatten)]
    place: Place,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let hostname = match self.hostname {
            Some(name) => name,
            None => host_name()?,
        };
        let settings = Settings {
            control: self.control,
            ca: self.ca.map(std::path::absolute).transpose().context("no such path")?,
            hostname,
            advertise_routes: self.advertise_routes,
            advertise_exit_node: self.advertise_exit_node,
            exit_node: self.exit_node,
            accept_routes: self.accept_routes,
            names: !self.no_names,
            port: self.port,
            no_port_mapping: self.no_port_mapping,
            peer_relay: self.peer_relay,
            path: self.path,
        };
        let auth_key = self.auth_key.map(read_key).transpose()?;
        if self.foreground {
            let options = self.place.options(self.socket.socket)?;
            return mesh::run(options, Some(Up { settings, auth_key }));
        }
        let request = Request::Up { settings: Box::new(settings), auth_key };
        let shows = std::io::stderr().is_terminal();
        let done = Caller::connect(&self.socket.socket)?.done(&request, |what| {
            if shows {
                eprintln!("{what} ...");
            }
        })?;
        self.format.print(&done, |done| println!("{done}"))?;
        Ok(match done.state {
            Outcome::Pending => ExitCode::from(PENDING),
            Outcome::Offline => ExitCode::from(OFFLINE),
            _ => ExitCode::SUCCESS,
        })
    }
}

fn rule(text: &str) -> Result<Rule, String> {
    match text {
        "any" => Ok(Rule::Any),
        "relay" => Ok(Rule::Relay),
        "direct" => Ok(Rule::Direct),
        _ => Err("it is any, relay or direct".to_owned()),
    }
}

fn read_key(text: String) -> anyhow::Result<AuthKey> {
    if text != "-" {
        return Ok(AuthKey::new(&text));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    std::io::stdin().take(4096).read_to_string(&mut text).context("cannot read the key")?;
    Ok(AuthKey::new(&text))
}

fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("cannot read this host's name")?;
    let name = name.trim();
    // What stands behind the first dot is the domain.
    let short = name.split('.').next().unwrap_or_default().to_owned();
    if short.is_empty() { bail!("this host has no name: give --hostname") } else { Ok(short) }
}
