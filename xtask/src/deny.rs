//! Licences, bans, sources and advisories of what we build on, when cargo-deny is there.

use anyhow::Result;

use crate::{packages, process, workspace};

/// Runs cargo-deny, or says that it is not installed: it is no condition of the rest.
pub(crate) fn check() -> Result<Option<String>> {
    if packages::find("cargo-deny").is_none() {
        let how = "not checked: `cargo install cargo-deny --locked` adds this check";
        println!("{how}");
        return Ok(Some("not checked: no cargo-deny".to_owned()));
    }
    // Advisories need a database from the network; the other three are decided here.
    let mut deny = workspace::cargo()?;
    process::run(deny.args(["deny", "check", "licenses", "bans", "sources"]))?;
    Ok(None)
}
