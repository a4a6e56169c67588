//! Running in the background: `wg-quick` wants the command back once the interface is there.

use std::env;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;

/// In the environment of the process that is to become the daemon.
const DAEMON: &str = "NEARWIRE_DAEMON";
/// What the daemon writes on its standard output once the interface can be configured.
const READY: &str = "ready";

/// Whether this process is to become the daemon.
pub(super) fn is_daemon() -> bool {
    env::var_os(DAEMON).is_some()
}

/// Starts this command again as the daemon and waits until it is ready, or has failed: then its
/// error is on our standard error already.
pub(super) fn start() -> anyhow::Result<ExitCode> {
    let program = env::current_exe().context("cannot find this program's own file")?;
    let mut daemon = Command::new(&program)
        .args(env::args_os().skip(1))
        .env(DAEMON, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut line = String::new();
    if let Some(stdout) = daemon.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).context("lost the daemon")?;
    }
    if line.trim_end() == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = daemon.wait().context("lost the daemon")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code.max(1)))
}

/// Leaves the terminal's session, so that its end does not end us.
pub(super) fn leave_session() {
    // Fails only if we lead a session already, which is as good.
    let _ = rustix::process::setsid();
}

/// Tells who started us that we are ready, and lets go of its output.
pub(super) fn ready() -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{READY}").and_then(|()| stdout.flush()).context("lost who started us")?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("cannot open /dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    std::env::set_current_dir("/").context("cannot change to /")
}
