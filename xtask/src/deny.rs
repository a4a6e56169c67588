//! Licences, bans, sources and advisories of what we build on, by cargo-deny.

use std::process::Command;

use anyhow::Result;

use crate::{packages, process, workspace};

const VERSION: &str = "0.20.2";

/// Installs cargo-deny if it is not there, and runs it.
pub(crate) fn check() -> Result<Option<String>> {
    // Unoptimised it is built in a third of the time, and it has seconds of work.
    packages::from_crates_as("cargo-deny", "cargo-deny", VERSION, &["--debug"])?;
    process::run(deny()?.args(["check", "licenses", "bans", "sources"]))?;
    // Advisories come from a repository of their own, which not every machine reaches.
    if process::quietly(deny()?.args(["fetch", "db"])).is_err() {
        return Ok(Some("advisories not checked: their database was not reached".to_owned()));
    }
    process::run(deny()?.args(["check", "--disable-fetch", "advisories"]))?;
    Ok(None)
}

/// `cargo deny`, which does not list what is there in two versions.
fn deny() -> Result<Command> {
    let mut command = workspace::cargo()?;
    command.env("PATH", packages::path_with_tools()?).args(["deny", "--log-level", "error"]);
    Ok(command)
}
