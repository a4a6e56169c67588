//! Runs a program of the host, with a limit of time.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

/// A resolvconf restarts services; one that hangs must not hold us up for ever.
const LIMIT: Duration = Duration::from_secs(20);

/// What it writes, if it ends well.
pub(super) async fn run(
    program: &Path,
    arguments: &[impl AsRef<OsStr>],
    input: &[u8],
) -> Result<String> {
    let shown = || {
        let words = arguments.iter().map(|word| word.as_ref().to_string_lossy());
        std::iter::once(program.to_string_lossy()).chain(words).collect::<Vec<_>>().join(" ")
    };
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let work = async {
        let mut child = command.spawn().context("it cannot be started")?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read is no failure by itself.
            let _ = stdin.write_all(input).await;
        }
        child.wait_with_output().await.context("waiting for it")
    };
    let output = timeout(LIMIT, work)
        .await
        .with_context(|| format!("`{}` has not ended after {LIMIT:?}", shown()))?
        .with_context(|| format!("`{}`", shown()))?;
    ensure!(
        output.status.success(),
        "`{}` failed ({}): {}",
        shown(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
