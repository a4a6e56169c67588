//! `nearwire policy apply`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;

use crate::cli::format::Format;
use crate::wg::{self, NamedText, Reply, Request};

/// Put a policy document in force; one with an error changes nothing
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The interface
    #[arg(value_name = "IFNAME")]
    interface: String,
    /// The document
    file: PathBuf,
    /// The nodes whom its users, tags and groups mean [default: those in force]
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let document = NamedText::read(&self.file, "the policy")?;
        let nodes =
            self.nodes.as_deref().map(|path| NamedText::read(path, "the nodes")).transpose()?;
        let request = Request::PolicyApply { document, nodes };
        let Reply::PolicyApplied(generation) = wg::call(&self.interface, &request)? else {
            bail!("the daemon answered something else");
        };
        let Self { interface, format, .. } = self;
        format.print(&json!({ "interface": interface, "generation": generation }), |_| {
            println!("{interface}: policy in force, generation {generation}");
        })
    }
}
