//! `nearwire policy status`.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::format::Format;
use crate::wg::{self, PolicyStatus, Reply, Request};

/// Show the policy in force with what each rule allowed and what was dropped
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The interface
    #[arg(value_name = "IFNAME")]
    interface: String,
    #[command(flatten)]
    format: Format,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Reply::PolicyStatus(status) = wg::call(&self.interface, &Request::PolicyStatus)? else {
            bail!("the daemon answered something else");
        };
        self.format.print(&status, show)
    }
}

/// With more rules than this, only those are shown that decided on something.
const MANY: usize = 64;

fn show(status: &PolicyStatus) {
    println!(
        "{}: generation {}, attached by {}{}",
        status.interface,
        status.generation,
        status.attached,
        status.node.as_ref().map(|node| format!(", rules of {node}")).unwrap_or_default()
    );
    match &status.pinned {
        Some(path) => println!("pinned in {}", path.display()),
        None => println!("not pinned: it ends with the daemon"),
    }
    println!("{:>12} {:>14}  decided by", "packets", "bytes");
    let (idle, busy): (Vec<_>, Vec<_>) =
        status.rules.iter().partition(|rule| rule.packets == 0 && status.rules.len() > MANY);
    for rule in busy {
        let line = rule.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        println!("{:>12} {:>14}  {line}{}", rule.packets, rule.bytes, rule.rule);
    }
    if !idle.is_empty() {
        println!("{:>12} {:>14}  {} more rules", 0, 0, idle.len());
    }
    println!("{:>12} {:>14}  known flows", status.flow_hits, "");
    println!("{:>12} {:>14}  dropped for", "packets", "");
    for (reason, packets) in &status.drops {
        println!("{packets:>12} {:>14}  {reason}", "");
    }
}
