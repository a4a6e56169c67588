//! `nearwire policy apply`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::wg::{self, Reply, Request};

/// Put a policy document in force; one with an error changes nothing
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The interface
    #[arg(value_name = "IFNAME")]
    interface: String,
    /// The document
    file: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let name = self.file.display().to_string();
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("cannot read the policy {name}"))?;
        let request = Request::PolicyApply { name, text };
        let Reply::PolicyApplied(generation) = wg::call(&self.interface, &request)? else {
            bail!("the daemon answered something else");
        };
        println!("{}: policy in force, generation {generation}", self.interface);
        Ok(ExitCode::SUCCESS)
    }
}
