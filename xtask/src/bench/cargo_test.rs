//! Tests that measure, optimised.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// Runs the tests of a file whose names have one of these words, or all, to a good end, one after the
/// other; gives what they printed.
pub(super) fn run(
    package: &str,
    file: &str,
    words: &[&str],
    environment: &[(&str, &str)],
) -> Result<String> {
    let mut test = workspace::cargo()?;
    test.args(["test", "--release", "--locked", "-p", package, "--test", file, "--"]);
    test.args(words).args(["--nocapture", "--test-threads", "1"]);
    test.envs(environment.iter().copied()).stderr(Stdio::inherit());
    let output = test.output().context("starting `cargo test`")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "`cargo test -p {package} --test {file}` failed, as said above: {said}"
    );
    Ok(said)
}
