//! `nearwire wg`.

use std::path::PathBuf;
use std::process::ExitCode;

use engine::HostOffload;

use crate::wg::{self, Options};

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
    /// Read and write the interface packet by packet, without segmentation offload
    #[arg(long)]
    no_offload: bool,
    /// Enforce this policy document on the interface; SIGHUP reads it anew
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl Args {
    /// What `wg-quick` asks for.
    pub(super) fn for_interface(name: &str) -> Self {
        Self { interface: name.to_owned(), foreground: false, no_offload: false, policy: None }
    }

    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { interface, foreground, no_offload, policy } = self;
        let offload = if no_offload { HostOffload::None } else { HostOffload::TcpAndUdp };
        wg::run(Options { interface, foreground, offload, policy })
    }
}
