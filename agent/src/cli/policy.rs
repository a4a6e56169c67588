//! `nearwire policy`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;

use crate::wg::{self, PolicyStatus, Reply, Request};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Read a policy document and say what is wrong with it; changes nothing
    Check {
        /// The document (JSON with comments and trailing commas)
        file: PathBuf,
    },
    /// Put a policy document in force; one with an error changes nothing
    Apply {
        /// The interface
        #[arg(value_name = "IFNAME")]
        interface: String,
        /// The document
        file: PathBuf,
    },
    /// Show the policy in force with what each rule allowed and what was dropped
    Status {
        /// The interface
        #[arg(value_name = "IFNAME")]
        interface: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check { file } => {
                let (_, document) = wg::read_policy(&file)?;
                println!("{}: {} rules, no errors", file.display(), document.rules().len());
            }
            Self::Apply { interface, file } => {
                let name = file.display().to_string();
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read the policy {name}"))?;
                let request = Request::PolicyApply { name, text };
                let Reply::PolicyApplied(generation) = wg::call(&interface, &request)? else {
                    bail!("the daemon answered something else");
                };
                println!("{interface}: policy in force, generation {generation}");
            }
            Self::Status { interface, json } => {
                let Reply::PolicyStatus(status) = wg::call(&interface, &Request::PolicyStatus)?
                else {
                    bail!("the daemon answered something else");
                };
                let status = status.with_context(|| {
                    format!("{interface} has no policy; start it with: nearwire wg --policy FILE")
                })?;
                if json {
                    println!("{}", serde_json::to_string(&status)?);
                } else {
                    show(&status);
                }
            }
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
