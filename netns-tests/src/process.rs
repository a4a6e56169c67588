//! Programs that run in a host: their output, their end, and a guard that sees to it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::wait::holds_within;

/// How long a process may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// Lines of output that a failing test shows.
const TAIL_LINES: usize = 40;

/// What a finished program left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to its standard output.
    pub stdout: String,
    /// All it wrote to its standard error.
    pub stderr: String,
}

/// A program running in a host. When dropped, it and its process group are asked to end, then
/// killed, and reaped; while a panic unwinds, the end of its output is shown.
#[derive(Debug)]
pub struct Process {
    command: String,
    child: Child,
    reaped: bool,
    pidfd: OwnedFd,
    // Memory files: the program never blocks on a full pipe, and nobody has to drain one.
    stdout: File,
    stderr: File,
}

impl Process {
    pub(crate) fn spawn(host: &str, mut command: Command) -> Result<Self> {
        let described = describe(host, &command);
        let capture = || Ok::<_, Errno>(File::from(memfd_create("output", MemfdFlags::CLOEXEC)?));
        let (stdout, stderr) = (capture()?, capture()?);
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = spawn_on_keeper(command).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                anyhow!("{described}: {}", not_found(&program))
            } else {
                anyhow!("{described}: cannot start: {error}")
            }
        })?;
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => {
                Ok(Self { command: described, child, reaped: false, pidfd, stdout, stderr })
            }
            Err(error) => {
                child.kill().and_then(|()| child.wait())?;
                Err(anyhow!("{described}: pidfd_open: {error}"))
            }
        }
    }

    /// `host: program arguments`, as in messages.
    #[must_use]
    pub fn command_line(&self) -> &str {
        &self.command
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// Its standard output so far.
    #[must_use]
    pub fn stdout_so_far(&self) -> String {
        read_all(&self.stdout)
    }

    /// Its standard error so far.
    #[must_use]
    pub fn stderr_so_far(&self) -> String {
        read_all(&self.stderr)
    }

    /// Its standard output so far, followed by its standard error.
    #[must_use]
    pub fn output_so_far(&self) -> String {
        self.stdout_so_far() + &self.stderr_so_far()
    }

    /// The first line of either output that contains `pattern`, once there is one.
    ///
    /// # Errors
    /// When none came within `timeout`, or the process ended without one; with its output.
    pub fn wait_for_line(&self, pattern: &str, timeout: Duration) -> Result<String> {
        let find = || {
            let output = self.output_so_far();
            let line = output.lines().find(|line| line.contains(pattern));
            line.map(str::to_owned)
        };
        let mut found = None;
        holds_within(timeout, || {
            // Ask first: the last words may come just before the end.
            let ended = !self.is_running();
            found = find();
            found.is_some() || ended
        });
        found.with_context(|| {
            format!(
                "{}: no line with {pattern:?} ({})\n{}",
                self.command,
                if self.is_running() {
                    format!("waited {timeout:?}")
                } else {
                    "it has ended".to_owned()
                },
                self.output_so_far()
            )
        })
    }

    /// Sends it a signal (to it alone, not to its children).
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.pidfd, signal)
            .with_context(|| format!("{}: cannot signal", self.command))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `timeout`; it is killed then.
    pub fn wait(mut self, timeout: Duration) -> Result<Output> {
        if !self.ends_within(timeout) {
            self.end();
            bail!("{}: still running after {timeout:?}\n{}", self.command, self.output_so_far());
        }
        self.reap()
    }

    /// Asks it to end (`SIGTERM`) and waits for that, for two seconds.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(self) -> Result<Output> {
        // It may be gone already: what it left tells.
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
        self.wait(GRACE)
    }

    fn ends_within(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut fds, left.as_ref()) {
                Err(Errno::INTR) => {}
                Ok(ready) => return ready > 0,
                Err(error) => panic!("poll on a pidfd: {error}"),
            }
        }
    }

    fn reap(&mut self) -> Result<Output> {
        // Children it left behind. Before reaping: until then the group's number is not given again.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.reaped = true;
        Ok(Output {
            status: self.child.wait()?,
            stdout: self.stdout_so_far(),
            stderr: self.stderr_so_far(),
        })
    }

    fn end(&mut self) {
        // It may have ended already, which is as good.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::TERM);
        self.ends_within(GRACE);
        let _ = self.reap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.end();
        }
        if std::thread::panicking() {
            let output = self.output_so_far();
            let lines: Vec<&str> = output.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            eprintln!("--- {}\n{}\n---", self.command, tail.join("\n"));
        }
    }
}

/// `host: program arguments`, for messages.
fn describe(host: &str, command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("{host}: {}", words.join(" "))
}

fn not_found(program: &str) -> String {
    let package = match program {
        "bridge" | "ip" | "ss" | "tc" => "iproute2",
        "ping" => "iputils-ping",
        "nsenter" => "util-linux",
        "wg" | "wg-quick" => "wireguard-tools",
        "nft" => "nftables",
        "ethtool" | "iperf3" | "tcpdump" => program,
        _ => return format!("{program} not found"),
    };
    format!("{program} not found; on Debian: apt-get install {package}")
}

fn read_all(file: &File) -> String {
    // Positioned reads: the program writes at the shared offset.
    let len = file.metadata().map_or(0, |meta| meta.size());
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("(output unreadable: {error})"),
    }
}

/// Spawns on a thread that never ends: the parent-death signal is sent when the *thread* that
/// spawned a child ends, and a test may spawn on a short-lived one.
fn spawn_on_keeper(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static KEEPER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // The one who ordered is waiting.
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, child) = mpsc::channel();
    KEEPER.send((command, reply)).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}
