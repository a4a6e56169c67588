//! Running other programs: every failure names the command line and what came of it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The command line, as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        let _ = write!(line, " {}", arg.to_string_lossy());
    }
    line
}

/// Runs it with our own output and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs it and returns what it printed; a failure carries its standard error.
pub(crate) fn stdout(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting `{}`", line(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}\n{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of `{}`", line(command)))
}

/// Runs it quietly: its output is seen only when it fails.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    stdout(command).map(drop)
}

/// How long a finished program's last words may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs it with its standard output passed on line by line, each shown to `see` as well.
///
/// The program's end is the end of this, even when something it left behind holds its output open.
pub(crate) fn watch(command: &mut Command, mut see: impl FnMut(&str)) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{}`", line(command)))?;
    let pipe = child.stdout.take().context("a child without the pipe it was given")?;
    let (lines, inbox) = mpsc::channel();
    thread::spawn(move || {
        let said = BufReader::new(pipe).split(b'\n').map_while(Result::ok);
        said.map(|text| lines.send(text)).take_while(Result::is_ok).for_each(drop);
    });
    let status = loop {
        // Asked first: what it said before its end is then in the pipe already.
        let ended = child.try_wait().with_context(|| format!("awaiting `{}`", line(command)))?;
        match (inbox.recv_timeout(LAST_WORDS), ended) {
            (Ok(text), _) => {
                let text = String::from_utf8_lossy(&text);
                println!("{text}");
                see(&text);
            }
            (Err(_), Some(status)) => break status,
            (Err(RecvTimeoutError::Timeout), None) => {}
            (Err(RecvTimeoutError::Disconnected), None) => thread::sleep(LAST_WORDS / 10),
        }
    };
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// A child that is killed and reaped when this is dropped.
pub(crate) struct Owned(Child);

impl Owned {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("starting `{}`", line(command)))?;
        Ok(Self(child))
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.0.try_wait().context("asking after a child")
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until the answer is `Some`, or the time is over: then the error is `late`'s.
pub(crate) fn until<T>(
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
    late: impl FnOnce() -> String,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("{} (waited {} s)", late(), limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_holds_the_output_open_does_not_hold_us() {
        let start = Instant::now();
        let mut said = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 20 & echo one; echo $!"]);
        watch(&mut command, |line| said.push(line.to_owned())).unwrap();
        assert_eq!(said[0], "one");
        quietly(Command::new("kill").arg(&said[1])).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
