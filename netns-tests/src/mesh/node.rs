//! A node of a mesh: a host with a daemon, and the commands that people give it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;
use serde_json::Value;

use super::clock::Clock;
use super::{Directory, Hub, PATIENCE, Programs};
use crate::host::Host;
use crate::process::{Output, Process};
use crate::wait::wait_until;

/// What the host asks without us: nobody.
pub const RESOLV_CONF: &str = "nameserver 192.0.2.53\n";

/// See the module.
#[derive(Debug)]
pub struct MeshNode {
    /// Its host.
    pub host: Host,
    /// What it would like to be called.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// Who may give it commands beside root, from its next start on.
    pub group: Option<u32>,
    /// Whether it is as on a machine of its own, from its next start on: sockets are where they are if
    /// nothing else is said, and those of other namespaces are not to be seen.
    pub alone: bool,
    /// Whether it knows the control plane by its name only.
    pub(super) by_name: bool,
    program: PathBuf,
    /// Ends before what is pinned, which else would outlive it.
    daemon: Option<Process>,
    pins: Option<Pins>,
    clock: Clock,
    directory: Directory,
}

/// A BPF file system for what is pinned. It must be there before the daemon: the daemon's mounts end
/// with it.
#[derive(Debug)]
struct Pins(PathBuf);

impl Pins {
    fn mount(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&directory)?;
        mount("bpf", &directory, "bpf", MountFlags::empty(), None)
            .with_context(|| format!("no BPF file system at {}", directory.display()))?;
        Ok(Self(directory))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // Not mounted is as good.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

impl MeshNode {
    pub(super) fn start(host: Host, name: &str, programs: &Programs) -> Result<Self> {
        Self::start_asking(host, name, programs, RESOLV_CONF)
    }

    /// As [`Self::start`], on a host that asks for names there.
    pub(super) fn start_asking(
        host: Host,
        name: &str,
        programs: &Programs,
        resolv_conf: &str,
    ) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // The sockets of interfaces share one directory, whatever the namespace.
        let interface = format!("nm{:x}-{number}", std::process::id());
        let directory = Directory::new(name)?;
        let mut node = Self {
            host,
            name: name.to_owned(),
            interface,
            group: None,
            alone: false,
            by_name: false,
            program: programs.get("nearwire", "agent")?,
            daemon: None,
            pins: None,
            clock: Clock::new(&directory, "daemon"),
            directory,
        };
        std::fs::write(node.resolv_conf(), resolv_conf)?;
        node.start_daemon()?;
        Ok(node)
    }

    /// Starts the daemon, or starts it again.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn start_daemon(&mut self) -> Result<()> {
        let resolv_conf = self.resolv_conf();
        // With a resolv.conf of its own: a node changes it.
        let mut command = self.host.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
        let alone = if self.alone { "mount -t tmpfs none /run/nearwire; " } else { "" };
        command.arg(format!("mount --bind \"$0\" /etc/resolv.conf; {alone}exec \"$@\""));
        command.arg(resolv_conf).arg(&self.program);
        command.arg("daemon").args(["--interface", &self.interface, "--shards", "2"]);
        command.args(["--metrics", Self::METRICS]);
        command.arg("--state").arg(self.directory.file("state"));
        if self.alone {
            std::fs::create_dir_all("/run/nearwire")?;
        } else {
            command.arg("--socket").arg(self.directory.file("sock"));
        }
        let pins = self.pins.as_ref().map_or(Path::new("none"), |pins| &pins.0);
        command.env("NEARWIRE_PIN_DIR", pins).env("NO_COLOR", "1");
        if let Some(group) = self.group {
            command.args(["--group", &group.to_string()]);
        }
        self.clock.show(&mut command);
        let process = self.host.spawn_command(command)?;
        process.wait_for_line("serving", PATIENCE)?;
        self.daemon = Some(process);
        Ok(())
    }

    /// Has the policy of the daemon, from its next start on, outlive it.
    ///
    /// # Errors
    /// When nothing can be mounted here.
    pub fn pin(&mut self) -> Result<()> {
        self.pins = Some(Pins::mount(self.directory.file("pins"))?);
        Ok(())
    }

    /// Sets the wall clock of the daemon, at once if it was set before its start: so many days ahead
    /// of everybody else's, or behind.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn set_clock(&self, days: i32) -> Result<()> {
        self.clock.set(&format!("{days:+}d"))
    }

    /// The file that programs of this host, and they alone, see as `/etc/resolv.conf`.
    #[must_use]
    pub fn resolv_conf(&self) -> PathBuf {
        self.directory.file("resolv.conf")
    }

    /// The file with its keys and settings.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        self.directory.file("state").join("state.json")
    }

    /// Where it takes commands.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.file("sock")
    }

    /// Where it answers Prometheus.
    pub const METRICS: &'static str = "127.0.0.1:9586";

    /// The daemon's process.
    ///
    /// # Errors
    /// When there is none.
    pub fn daemon_id(&self) -> Result<u32> {
        Ok(self.daemon.as_ref().context("there is no daemon")?.id())
    }

    /// Has the daemon stand still, as a machine that sleeps, or go on.
    ///
    /// # Errors
    /// When there is none.
    pub fn stand_still(&self, still: bool) -> Result<()> {
        let daemon = self.daemon.as_ref().context("there is no daemon")?;
        daemon.signal(if still { Signal::STOP } else { Signal::CONT })
    }

    /// Runs a command that finds names as the daemon's host does.
    ///
    /// # Errors
    /// When there is no daemon, or the command cannot start or does not end in time.
    pub fn by_name(&self, words: &[&str]) -> Result<Output> {
        let daemon = self.daemon.as_ref().context("there is no daemon")?;
        let mut command = self.host.command("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", daemon.id())).args(words);
        // Who asks the host's own, absent resolver is to be back before patience ends.
        command.env("RES_OPTIONS", "timeout:1 attempts:1");
        self.host.spawn_command(command)?.wait(PATIENCE)
    }

    /// Kills the daemon, which has no time to tidy up.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_daemon(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("there is no daemon")?;
        daemon.signal(Signal::KILL)?;
        wait_until(PATIENCE, "the daemon's end", || !daemon.is_running());
        Ok(())
    }

    /// Ends the daemon.
    pub fn stop_daemon(&mut self) {
        self.daemon = None;
    }

    /// What the daemon has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Process::stderr_so_far).unwrap_or_default()
    }

    /// Runs `nearwire` with these words, to whatever end.
    ///
    /// # Errors
    /// When it cannot start or does not end in time.
    pub fn output(&self, words: &[&str]) -> Result<Output> {
        self.spawn(words)?.wait(PATIENCE)
    }

    /// As [`Self::output`], of what goes on until it is stopped.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn spawn(&self, words: &[&str]) -> Result<Process> {
        if self.alone {
            // What it sees of files is what its daemon does.
            let daemon = self.daemon.as_ref().context("there is no daemon")?;
            let mut command = self.host.command("nsenter");
            command.arg(format!("--mount=/proc/{}/ns/mnt", daemon.id()));
            command.arg(&self.program).args(words);
            return self.host.spawn_command(command);
        }
        let mut command = self.host.command(&self.program);
        command.args(words);
        self.begin(command)
    }

    /// As [`Self::output`], on a terminal: what it says there is standard output.
    ///
    /// # Errors
    /// As [`Self::output`].
    pub fn output_on_a_terminal(&self, words: &[&str]) -> Result<Output> {
        let program = self.program.to_str().context("UTF-8")?;
        let mut command = self.host.command("script");
        // A terminal that nobody sits at has no size.
        let words = [&["stty columns 120 rows 30; exec", program], words].concat().join(" ");
        command.args(["--quiet", "--return", "--command", &words, "/dev/null"]);
        self.begin(command)?.wait(PATIENCE)
    }

    fn begin(&self, mut command: std::process::Command) -> Result<Process> {
        command.env("NEARWIRE_SOCKET", self.socket());
        command.env("NEARWIRE_STATE", self.directory.file("state"));
        self.host.spawn_command(command)
    }

    /// Runs `nearwire` with these words to a good end; gives what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn nearwire(&self, words: &[&str]) -> Result<String> {
        let output = self.output(words)?;
        let said = format!("{}{}", output.stdout, output.stderr);
        ensure!(output.status.success(), "{}: {words:?}: {said}\n{}", self.name, self.log());
        Ok(output.stdout)
    }

    /// Brings it into the mesh, with more words of the command.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn up(&self, hub: &Hub, key: &str, more: &[&str]) -> Result<String> {
        let url = if self.by_name { hub.named_url()? } else { hub.url() };
        self.up_at(&url, hub, key, more)
    }

    /// As [`Self::up`], at an instance of this address.
    ///
    /// # Errors
    /// As [`Self::up`].
    pub fn up_at(&self, url: &str, hub: &Hub, key: &str, more: &[&str]) -> Result<String> {
        let ca = hub.ca();
        let words = ["up", "--control", url, "--ca", &ca, "--hostname", &self.name];
        self.nearwire(&[&words[..], &["--auth-key", key], more].concat())
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When its daemon does not answer.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.nearwire(&["status", "--json"])?)?)
    }

    /// Its IPv4 address in the mesh.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self) -> Result<String> {
        let status = self.status()?;
        let address = status.pointer("/addresses/0").and_then(Value::as_str);
        Ok(address.with_context(|| format!("no address: {status}"))?.to_owned())
    }

    /// Its id.
    ///
    /// # Errors
    /// When it has none.
    pub fn id(&self) -> Result<String> {
        let status = self.status()?;
        Ok(status["node"].as_str().context("no id")?.to_owned())
    }

    /// What it says of a peer; null if it has none of this name.
    ///
    /// # Errors
    /// When its daemon does not answer.
    pub fn peer(&self, name: &str) -> Result<Value> {
        let status = self.status()?;
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        Ok(peers.into_iter().find(|peer| peer["name"] == name).unwrap_or(Value::Null))
    }

    /// Waits until something is true of its status.
    ///
    /// # Panics
    /// When it does not come true.
    #[track_caller]
    pub fn wait_for(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let what = format!("{}: {what}", self.name);
        wait_until(PATIENCE, &what, || self.status().is_ok_and(|status| holds(&status)));
    }

    /// Waits until it has a path of this kind to a peer.
    ///
    /// # Panics
    /// When it does not get one.
    #[track_caller]
    pub fn wait_for_path(&self, peer: &str, path: &str) {
        self.wait_for(&format!("{path} to {peer}"), |status| {
            let peers = status["peers"].as_array();
            peers.is_some_and(|peers| {
                peers.iter().any(|found| found["name"] == peer && found["path"] == path)
            })
        });
    }
}
