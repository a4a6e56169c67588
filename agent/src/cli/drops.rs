//! `nearwire drops`.

use std::process::ExitCode;

use anyhow::bail;

use super::format::Format;
use crate::wg::{self, Reply, Request};

/// Show what an interface dropped, and why.
///
/// Counts what the tunnel dropped; what the policy dropped is in `nearwire policy status`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The interface
    #[arg(value_name = "IFNAME")]
    interface: String,
    #[command(flatten)]
    format: Format,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Reply::Drops(drops) = wg::call(&self.interface, &Request::Drops)? else {
            bail!("the daemon answered something else");
        };
        self.format.print(&drops, |drops| {
            if drops.is_empty() {
                println!("nothing dropped");
            }
            for (reason, packets) in drops {
                println!("{packets:>12}  {reason}");
            }
        })
    }
}
