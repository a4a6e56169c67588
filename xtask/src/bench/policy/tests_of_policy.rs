//! Tests of crate `policy` that measure, optimised.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// Runs one to a good end, one case after the other; gives what it printed.
pub(super) fn run(name: &str, environment: &[(&str, &str)]) -> Result<String> {
    let mut test = workspace::cargo()?;
    test.args(["test", "--release", "--locked", "-p", "policy", "--test", name]);
    test.args(["--", "--nocapture", "--test-threads", "1"]);
    test.envs(environment.iter().copied()).stderr(Stdio::inherit());
    let output = test.output().context("starting `cargo test`")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "`cargo test -p policy --test {name}` failed, as said above: {said}"
    );
    Ok(said)
}
