//! `nearwire shards`.

use std::process::ExitCode;

use anyhow::bail;

use crate::wg::{self, Reply, Request};

/// Show the threads that carry an interface's packets, or change their number.
///
/// Each shard owns some of the peers. When the number changes, peers move with their sessions:
/// nothing needs a new handshake. Packets that arrived at another shard than their peer's are
/// counted; they should be few (handshake initiations, and what comes during a change).
#[derive(clap::Args)]
pub(super) struct Args {
    /// The interface
    #[arg(value_name = "IFNAME")]
    interface: String,
    /// How many there shall be; an interface that was started with one stays with one
    #[arg(value_name = "N")]
    count: Option<u32>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let request = Request::Shards { count: self.count };
        let Reply::Shards { count, handed_over } = wg::call(&self.interface, &request)? else {
            bail!("the daemon answered something else");
        };
        if self.json {
            println!("{}", serde_json::json!({ "shards": count, "handed_over": handed_over }));
        } else {
            println!("{count} shards, {handed_over} packets handed over");
        }
        Ok(ExitCode::SUCCESS)
    }
}
