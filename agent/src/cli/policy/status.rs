//! `nearwire policy status`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::wg::{self, PolicyStatus, Reply, Request};

/// Show the policy in force with what each rule allowed and what was dropped
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The interface
    #[arg(value_name = "IFNAME")]
    interface: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Reply::PolicyStatus(status) = wg::call(&self.interface, &Request::PolicyStatus)? else {
            bail!("the daemon answered something else");
        };
        let status = status.with_context(|| {
            let interface = &self.interface;
            format!("{interface} has no policy; start it with: nearwire wg --policy FILE")
        })?;
        if self.json {
            println!("{}", serde_json::to_string(&status)?);
        } else {
            show(&status);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(status: &PolicyStatus) {
    println!(
        "{}: generation {}, attached by {}",
        status.interface, status.generation, status.attached
    );
    println!("{:>12} {:>14}  allowed by", "packets", "bytes");
    for rule in &status.rules {
        println!("{:>12} {:>14}  line {}: {}", rule.packets, rule.bytes, rule.line, rule.rule);
    }
    println!("{:>12} {:>14}  known flows", status.flow_hits, "");
    println!("{:>12} {:>14}  dropped for", "packets", "");
    for (reason, packets) in &status.drops {
        println!("{packets:>12} {:>14}  {reason}", "");
    }
}
