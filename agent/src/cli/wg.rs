//! `nearwire wg`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use dataplane_common::{MAX_SHARDS, Shards};
use engine::HostOffload;

use crate::wg::{self, Files, Options};

/// Make a WireGuard interface and serve it, for `wg` and `wg-quick` to configure.
///
/// A drop-in for the kernel's WireGuard, wireguard-go and boringtun-cli: the interface is
/// configured by `wg set`, `wg setconf` and the like, and ends on SIGTERM, when
/// /var/run/wireguard/IFNAME.sock is removed, or on `ip link del IFNAME`.
///
/// With wg-quick: WG_QUICK_USERSPACE_IMPLEMENTATION=nearwire wg-quick up wg0
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The interface to make (1 to 15 characters)
    #[arg(value_name = "IFNAME")]
    interface: String,
    /// Stay in the foreground and log to standard error
    #[arg(short, long)]
    foreground: bool,
    /// Threads that carry packets, each with peers of its own [default: one for each core]
    #[arg(long, value_name = "N", env = "NEARWIRE_SHARDS", value_parser = shards)]
    shards: Option<Shards>,
    /// After a packet, look for the next one for so many microseconds before sleeping: less latency
    /// for more CPU time
    #[arg(long, value_name = "MICROSECONDS", env = "NEARWIRE_BUSY_POLL", default_value_t = 0)]
    busy_poll: u32,
    /// Read and write the interface packet by packet, without segmentation offload
    #[arg(long, env = "NEARWIRE_NO_OFFLOAD")]
    no_offload: bool,
    /// Enforce this policy document on the interface; SIGHUP reads it anew
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The nodes whom the policy's users, tags and groups mean
    #[arg(long, value_name = "FILE", requires = "policy")]
    nodes: Option<PathBuf>,
    /// Enforce only what concerns this node [default: every rule]
    #[arg(long, value_name = "NAME", requires = "nodes")]
    node: Option<String>,
    /// Append what becomes of flows to this file: one JSON object for each start, end and denial;
    /// SIGHUP opens it anew
    #[arg(long, value_name = "FILE", requires = "policy", env = "NEARWIRE_FLOW_LOG")]
    flow_log: Option<PathBuf>,
    #[command(flatten)]
    pins: Pins,
}

/// What outlives a daemon that is killed.
#[derive(clap::Args)]
pub(super) struct Pins {
    /// Pin the policy here, in a BPF file system, which is mounted if need be: a daemon that is
    /// killed leaves interface, policy and flows, and the next one takes them over. `none`: they end
    /// with the daemon
    #[arg(
        long,
        value_name = "DIR",
        env = "NEARWIRE_PIN_DIR",
        default_value = "/sys/fs/bpf/nearwire"
    )]
    pin_dir: PathBuf,
}

impl Pins {
    pub(super) fn directory(self) -> Option<PathBuf> {
        (self.pin_dir.as_os_str() != "none").then_some(self.pin_dir)
    }
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let no_offload = self.no_offload;
        let (nodes, node) = (self.nodes, self.node);
        wg::run(Options {
            interface: self.interface,
            foreground: self.foreground,
            offload: if no_offload { HostOffload::None } else { HostOffload::TcpAndUdp },
            shards: self.shards,
            busy_poll: Duration::from_micros(self.busy_poll.into()),
            policy: self.policy.map(|document| Files { document, nodes, node }),
            flow_log: self.flow_log,
            pin_directory: self.pins.directory(),
            side: None,
        })
    }
}

pub(super) fn shards(text: &str) -> Result<Shards, String> {
    let count = text.parse().ok().and_then(Shards::new);
    count.ok_or_else(|| format!("it must be a number from 1 to {MAX_SHARDS}"))
}
