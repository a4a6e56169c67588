//! `nearwire drops`.

use std::process::ExitCode;

use anyhow::bail;

use crate::wg::{self, Reply, Request};

/// Show what an interface dropped, and why.
///
/// Counts what the tunnel dropped; what the policy dropped is in `nearwire policy status`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The interface
    #[arg(value_name = "IFNAME")]
    interface: String,
    /// One JSON object: reason to count
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Reply::Drops(drops) = wg::call(&self.interface, &Request::Drops)? else {
            bail!("the daemon answered something else");
        };
        if self.json {
            println!("{}", serde_json::to_string(&drops)?);
        } else if drops.is_empty() {
            println!("nothing dropped");
        } else {
            for (reason, packets) in drops {
                println!("{packets:>12}  {reason}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
