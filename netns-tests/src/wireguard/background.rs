//! A command that leaves a daemon behind, with a guard around both.

use std::ffi::{OsStr, OsString};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::socket::{remove_sockets, uapi_path};
use crate::host::Host;
use crate::process::Process;

/// How long the command itself may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(20);

/// Says how the command ended, then stays as the daemon's parent.
const KEEPER: &str = r#"
trap 'exit 0' TERM
"$@"
echo "ended with $?"
while :; do sleep 1000 & wait $!; done
"#;

/// A finished command, and what it left running. It ran in a process namespace of its own, which
/// ends with this (and with this process), so the daemon cannot outlive a test.
#[derive(Debug)]
pub struct Background {
    interface: String,
    keeper: Option<Process>,
    /// How the command ended.
    pub exit_code: i32,
}

impl Background {
    /// Runs `command` (from [`Host::command`], with its environment) until it ends by itself.
    ///
    /// # Errors
    /// When it does not end within 20 seconds.
    pub fn start(host: &Host, interface: &str, command: &std::process::Command) -> Result<Self> {
        let mut keeper = host.command("unshare");
        keeper.args(["--pid", "--fork", "--kill-child", "sh", "-c", KEEPER, "keeper"]);
        keeper.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => keeper.env(name, value),
                None => keeper.env_remove(name),
            };
        }
        let keeper = host.spawn_command(keeper)?;
        let mut background =
            Self { interface: interface.to_owned(), keeper: Some(keeper), exit_code: -1 };
        let line = background
            .keeper
            .as_ref()
            .context("no keeper")?
            .wait_for_line("ended with ", COMMAND_WITHIN)?;
        let code = line.rsplit(' ').next().unwrap_or_default();
        background.exit_code = code.parse().with_context(|| line.clone())?;
        Ok(background)
    }

    /// Runs `words` so.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn run<W: AsRef<OsStr>>(
        host: &Host,
        interface: &str,
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self> {
        let words: Vec<OsString> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let (program, arguments) = words.split_first().context("a command needs a program")?;
        let mut command = host.command(program);
        command.args(arguments);
        Self::start(host, interface, &command)
    }

    /// What the command wrote.
    #[must_use]
    pub fn output(&self) -> String {
        self.keeper.as_ref().map(Process::output_so_far).unwrap_or_default()
    }

    /// The daemon, by who listens on the interface's configuration socket.
    ///
    /// # Errors
    /// When nobody does.
    pub fn daemon(&self) -> Result<Daemon> {
        let path = uapi_path(&self.interface);
        let stream = UnixStream::connect(&path).with_context(|| path.display().to_string())?;
        let pid = socket_peercred(&stream)?.pid;
        Ok(Daemon(pidfd_open(pid, PidfdFlags::empty())?))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // The keeper first: its end is the daemon's, and then nobody makes the sockets anew.
        drop(self.keeper.take());
        remove_sockets(&self.interface);
    }
}

/// A process that is not our child.
#[derive(Debug)]
pub struct Daemon(std::os::fd::OwnedFd);

impl Daemon {
    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(pidfd_send_signal(&self.0, signal)?)
    }

    /// Whether it has ended, or does within `timeout`.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn ends_within(&self, timeout: Duration) -> Result<bool> {
        let timeout = Timespec::try_from(timeout)?;
        Ok(poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout))? > 0)
    }
}
