//! How a report is printed: for people or for programs.

use std::process::ExitCode;

use serde::Serialize;

/// See the module.
#[derive(clap::Args)]
pub(super) struct Format {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Format {
    /// Prints it, which is a success.
    pub(super) fn print<T: Serialize>(
        &self,
        report: &T,
        show: impl FnOnce(&T),
    ) -> anyhow::Result<ExitCode> {
        if self.json {
            println!("{}", serde_json::to_string(report)?);
        } else {
            show(report);
        }
        Ok(ExitCode::SUCCESS)
    }
}
