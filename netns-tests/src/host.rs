//! A host of the lab: a network namespace, and programs or closures that run in it.

use std::ffi::OsStr;
use std::fs::File;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::namespace::Namespace;
use crate::packet_socket::{Family, PacketSocket, Sniffer, Writer};
use crate::process::{Output, Process};
use crate::sys;
use crate::wait::holds_within;

/// Marks each process that a lab started, with the lab's unique tag.
pub(crate) const TAG_VARIABLE: &str = "NEARWIRE_LAB";

/// How long [`Host::run`] lets a program run.
const RUN_LIMIT: Duration = Duration::from_secs(30);

/// How long the kernel may take to notice a new link.
const LINK_WITHIN: Duration = Duration::from_secs(5);

const BRIDGE: &str = "br0";

/// A host, router or switch. Its namespace is gone once this, and what runs in it, is gone.
#[derive(Debug)]
pub struct Host {
    name: String,
    tag: String,
    namespace: Arc<Namespace>,
    next_device: AtomicU32,
    is_switch: bool,
}

impl Host {
    pub(crate) fn new(name: &str, tag: &str, namespace: Arc<Namespace>) -> Result<Self> {
        let host = Self {
            name: name.to_owned(),
            tag: tag.to_owned(),
            namespace,
            next_device: AtomicU32::new(0),
            is_switch: false,
        };
        // Before any interface exists, so that every later one inherits it.
        for scope in ["all", "default"] {
            host.sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "0")?;
            host.sysctl(&format!("net.ipv6.conf.{scope}.accept_dad"), "0")?;
            host.sysctl(&format!("net.ipv6.conf.{scope}.accept_ra"), "0")?;
            host.sysctl(&format!("net.ipv4.conf.{scope}.rp_filter"), "0")?;
        }
        host.ip(["link", "set", "lo", "up"])?;
        Ok(host)
    }

    pub(crate) fn into_router(self) -> Result<Self> {
        self.sysctl("net.ipv4.ip_forward", "1")?;
        self.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        self.sysctl("net.ipv6.conf.default.forwarding", "1")?;
        Ok(self)
    }

    pub(crate) fn into_switch(mut self) -> Result<Self> {
        // No learning delay, and no snooping that would eat neighbour discovery.
        self.ip([
            "link",
            "add",
            BRIDGE,
            "type",
            "bridge",
            "forward_delay",
            "0",
            "mcast_snooping",
            "0",
        ])?;
        self.ip(["link", "set", BRIDGE, "up"])?;
        self.is_switch = true;
        Ok(self)
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in this host: its network, the file system of this process (so `/sys`
    /// still shows the outer network). It dies with the *thread* that spawns it; where that may be a
    /// short-lived one, use [`Host::spawn`].
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env(TAG_VARIABLE, &self.tag);
        self.namespace.prepare(&mut command);
        command
    }

    /// Runs a program to its end, which must be a good one, within 30 seconds.
    ///
    /// # Errors
    /// When it cannot start, does not end in time or fails; with what it wrote.
    pub fn run<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<Output> {
        let (shown, output) = self.finish(words)?;
        ensure!(
            output.status.success(),
            "{shown}: {}\nstdout: {}\nstderr: {}",
            output.status,
            output.stdout.trim_end(),
            output.stderr.trim_end()
        );
        Ok(output)
    }

    /// Runs a program to whatever end, within 30 seconds.
    ///
    /// # Errors
    /// When it cannot start or does not end in time.
    pub fn output<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<Output> {
        Ok(self.finish(words)?.1)
    }

    /// Starts a program and leaves it running, under a guard.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn spawn<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<Process> {
        self.spawn_command(self.command_of(words)?)
    }

    /// As [`Host::spawn`], for a command made by [`Host::command`] with an environment or directory.
    /// Standard input, standard output and standard error are the guard's.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn spawn_command(&self, command: Command) -> Result<Process> {
        Process::spawn(&self.name, command)
    }

    /// Runs `ip` with these arguments.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn ip<W: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = W>) -> Result<Output> {
        let arguments: Vec<W> = arguments.into_iter().collect();
        self.run(std::iter::once(OsStr::new("ip")).chain(arguments.iter().map(AsRef::as_ref)))
    }

    /// The interface by which packets leave for an address.
    ///
    /// # Errors
    /// When none do.
    pub fn link_to(&self, address: &str) -> Result<String> {
        self.route_word(address, "dev")
    }

    /// What the route by which packets for an address leave says of `dev`, `via` (the gateway) or `src`
    /// (the host's own address).
    ///
    /// # Errors
    /// When there is no such route, or it does not say.
    pub fn route_word(&self, address: &str, word: &str) -> Result<String> {
        let said = self.ip(["-o", "route", "get", address])?.stdout;
        let mut words = said.split_whitespace().skip_while(|at| *at != word).skip(1);
        Ok(words.next().with_context(|| format!("no `{word}`: {said}"))?.to_owned())
    }

    /// Adds or replaces a route: a prefix or `default`, and the gateway's address (which tells the
    /// family).
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn route(&self, destination: &str, gateway: &str) -> Result<()> {
        let family = if gateway.contains(':') { "-6" } else { "-4" };
        self.ip([family, "route", "replace", destination, "via", gateway])?;
        Ok(())
    }

    /// Sets a kernel parameter below `net.`, written with dots.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.enter(|| std::fs::write(&path, value))?
            .with_context(|| format!("{}: {path} = {value}", self.name))
    }

    /// Runs a closure inside the host, on a thread of its own: sockets it makes belong to the host,
    /// and stay so wherever they are used later. A panic is handed on.
    ///
    /// # Errors
    /// When the thread cannot move into the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace
            .enter(work)
            .with_context(|| format!("{}: cannot enter the namespace", self.name))
    }

    pub(crate) fn namespace(&self) -> Arc<Namespace> {
        Arc::clone(&self.namespace)
    }

    /// Hands an IP packet to an interface as it is, however wrong, past the host's IP stack.
    ///
    /// # Errors
    /// When there is no such interface, or it takes no packets.
    pub fn send_raw(&self, interface: &str, packet: &[u8]) -> Result<()> {
        self.enter(|| PacketSocket::open(interface, Family::of(packet))?.send(packet))?
            .with_context(|| {
                format!("{}: cannot send {} bytes on {interface}", self.name, packet.len())
            })
    }

    /// As [`Host::send_raw`], for many packets of one family, with offload.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn writer(&self, interface: &str, family: Family) -> Result<Writer> {
        self.enter(|| PacketSocket::open_offloaded(interface, family))?
            .with_context(|| format!("{}: cannot write to {interface}", self.name))
    }

    /// Sees the IP packets of one family that arrive on an interface from now on.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn sniff(&self, interface: &str, family: Family) -> Result<Sniffer> {
        self.enter(|| PacketSocket::open(interface, family)?.listen())?
            .with_context(|| format!("{}: cannot sniff on {interface}", self.name))
    }

    /// Opens a queue of a TUN interface that nobody serves: what is written to it arrives as from the
    /// tunnel.
    ///
    /// # Errors
    /// When there is no such interface, or somebody serves it.
    pub fn open_tun(&self, interface: &str) -> Result<File> {
        ensure!(
            self.ip(["link", "show", interface]).is_ok(),
            "{}: there is no interface {interface}",
            self.name
        );
        self.enter(|| sys::open_tun(interface))?
            .with_context(|| format!("{}: cannot open {interface}", self.name))
    }

    /// A path to the namespace, for `nsenter --net=PATH` and `ip link set DEV netns PATH`; good while
    /// this process lives.
    #[must_use]
    pub fn namespace_path(&self) -> String {
        self.namespace.path()
    }

    pub(crate) fn new_device_name(&self) -> String {
        format!("eth{}", self.next_device.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives a new interface its addresses, or its place in the bridge, and brings it up.
    pub(crate) fn bring_up(&self, device: &str, mtu: u32, addresses: &[String]) -> Result<()> {
        if self.is_switch {
            ensure!(addresses.is_empty(), "{}: a switch has no address", self.name);
            self.ip(["link", "set", device, "master", BRIDGE])?;
        }
        for address in addresses {
            self.ip(["address", "add", address, "dev", device])?;
        }
        self.ip(["link", "set", device, "mtu", &mtu.to_string(), "up"])?;
        Ok(())
    }

    /// Waits until an interface carries packets: the kernel notices its link a little later
    /// (`net/core/link_watch.c`), and drops what is sent before, a first ARP request say.
    pub(crate) fn await_carrier(&self, device: &str) -> Result<()> {
        let mut shown = String::new();
        let carries = holds_within(LINK_WITHIN, || {
            shown = self
                .ip(["-oneline", "link", "show", device])
                .map_or_else(|error| format!("{error:#}"), |output| output.stdout);
            // A TAP knows nothing of a link.
            let is_up = [" state UP ", " state UNKNOWN "].iter().any(|state| shown.contains(state));
            is_up && !shown.contains(" qdisc noop ")
        });
        ensure!(carries, "{}: the link of {device} does not come up: {shown}", self.name);
        Ok(())
    }

    fn finish<W: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = W>,
    ) -> Result<(String, Output)> {
        let process = self.spawn(words)?;
        let shown = process.command_line().to_owned();
        Ok((shown, process.wait(RUN_LIMIT)?))
    }

    fn command_of<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<Command> {
        let mut words = words.into_iter();
        let program = words.next().context("a command needs a program")?;
        let mut command = self.command(program);
        command.args(words);
        Ok(command)
    }
}
