//! The relay's host and its clients', joined by a veth, or by two with a wire between; relay and
//! clients have a core each.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dataplane::Wire;
use netns_tests::{Host, Lab, Process};
use rustix::process::{Resource, getrlimit};

use crate::process;

/// The relay's address, and the clients'.
pub(super) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 1);
pub(super) const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 2);
/// The relay's core, and the clients'.
pub(super) const RELAY_CORE: &str = "0";
pub(super) const CLIENTS_CORE: &str = "1";
const PATIENCE: Duration = Duration::from_secs(15);
/// How often loaded interfaces take what has come.
const MODERATED: Duration = Duration::from_micros(50);

pub(super) struct Scene {
    pub(super) relay: Host,
    pub(super) clients: Host,
    /// The relay's interface, and its clients'.
    pub(super) devices: [String; 2],
    /// The kernel thread that receives for the relay.
    receiver: u32,
    wire: Option<(Host, [String; 2], Wire)>,
}

/// How frames come to the relay's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cable {
    /// As the clients' kernel has made them: buffers and all, which a relay that takes them by a
    /// socket is saved, and a program in XDP has to have made anew.
    Veth,
    /// As a network interface gives them: no buffer is made yet.
    Wire,
}

impl Scene {
    pub(super) fn new(cable: Cable) -> Result<Self> {
        let cores = std::thread::available_parallelism().context("counting cores")?.get();
        ensure!(cores >= 2, "this bench takes two cores: one is the relay's, one its clients'");
        let lab = Lab::new("relay-bench")?;
        let (relay, clients) = (lab.host("relay")?, lab.host("clients")?);
        // Kernel threads are called after interfaces, and are not in a namespace.
        let own = std::process::id();
        let devices = [format!("r{own}"), format!("c{own}")];
        let [near, far] = &devices;
        let wire = match cable {
            Cable::Veth => {
                veth([(&relay, near), (&clients, far)])?;
                None
            }
            Cable::Wire => {
                let middle = lab.host("wire")?;
                let ends = [format!("m{own}"), format!("n{own}")];
                veth([(&relay, near), (&middle, &ends[0])])?;
                veth([(&clients, far), (&middle, &ends[1])])?;
                // Made before frames leave: the wire knows of no checksum that is left out.
                for (host, device) in [(&relay, near), (&clients, far)] {
                    host.run(["ethtool", "-K", device, "tx", "off"])?;
                }
                for end in &ends {
                    threaded(&middle, end, CLIENTS_CORE)?;
                }
                let wire =
                    middle.enter(|| Wire::between(ends.each_ref().map(String::as_str)))??;
                Some((middle, ends, wire))
            }
        };
        for (host, device, address) in [(&relay, near, RELAY), (&clients, far, CLIENTS)] {
            host.ip(["address", "add", &format!("{address}/16"), "dev", device])?;
        }
        let receiver = threaded(&relay, near, RELAY_CORE)?;
        threaded(&clients, far, CLIENTS_CORE)?;
        Ok(Self { relay, clients, devices, receiver, wire })
    }

    /// Has interfaces receive where they are rung, as interrupts do: a kernel thread would have to
    /// wait for its turn, and on a busy machine that is all that is seen.
    pub(super) fn without_threads(&self) -> Result<()> {
        let [near, far] = &self.devices;
        let mut all = vec![(&self.relay, near), (&self.clients, far)];
        if let Some((middle, ends, _)) = &self.wire {
            all.extend(ends.iter().map(|end| (middle, end)));
        }
        for (host, device) in all {
            with_sysfs(host, &format!("echo 0 > /sys/class/net/{device}/threaded"))?;
        }
        Ok(())
    }

    /// Has the interfaces of both take what has come 20,000 times a second, as those of machines do
    /// that are loaded. Otherwise a relay that is not is woken for each packet, and the price of that
    /// is all that is seen.
    pub(super) fn moderate(&self) -> Result<()> {
        let [near, far] = &self.devices;
        moderate(&self.relay, near, MODERATED)?;
        moderate(&self.clients, far, MODERATED)?;
        // What a relay sends costs it no waking of another core, as it does not with an interface that
        // is told by a word in its memory.
        if let Some((middle, ends, _)) = &self.wire {
            for end in ends {
                moderate(middle, end, MODERATED)?;
            }
        }
        Ok(())
    }

    /// Starts a relay; it is ready when it listens there.
    pub(super) fn start(
        &self,
        program: &Path,
        arguments: &[String],
        listens: Listens,
    ) -> Result<Process> {
        let mut command = with_files(self.relay.command("prlimit"))?;
        command.args(["taskset", "--cpu-list", RELAY_CORE]).arg(program);
        command.args(arguments).env("RUST_LOG", "warn");
        let process = self.relay.spawn_command(command)?;
        process::until(
            PATIENCE,
            || {
                ensure!(process.is_running(), "it has ended: {}", process.output_so_far());
                Ok(self.relay.enter(|| listens.holds())??.then_some(()))
            },
            || format!("{} does not listen", process.command_line()),
        )?;
        Ok(process)
    }

    /// A command on the clients' side.
    pub(super) fn client_command(&self, program: &Path) -> Result<Command> {
        let mut command = with_files(self.clients.command("prlimit"))?;
        command.args(["taskset", "--cpu-list", CLIENTS_CORE]).arg(program);
        Ok(command)
    }

    /// Who does the relay's work: for its CPU time.
    pub(super) fn workers(&self, process: Option<&Process>) -> String {
        let process = process.map(|process| process.id().to_string());
        process.into_iter().chain([self.receiver.to_string()]).collect::<Vec<_>>().join(",")
    }
}

/// Has an interface take what has come so often only.
pub(super) fn moderate(host: &Host, device: &str, every: Duration) -> Result<()> {
    let (at, every) = (format!("/sys/class/net/{device}"), every.as_nanos());
    let set =
        format!("echo {every} > {at}/gro_flush_timeout && echo 2 > {at}/napi_defer_hard_irqs");
    with_sysfs(host, &set)
}

/// Joins two hosts by interfaces of these names.
pub(super) fn veth([(here, near), (there, far)]: [(&Host, &String); 2]) -> Result<()> {
    let path = there.namespace_path();
    here.ip(["link", "add", near, "type", "veth", "peer", "name", far, "netns", &path])?;
    for (host, device) in [(here, near), (there, far)] {
        host.ip(["link", "set", device, "up"])?;
        // With GRO a veth receives by NAPI, as other interfaces do.
        host.run([
            "ethtool",
            "-K",
            device,
            "gro",
            "on",
            "tso",
            "off",
            "tx-udp-segmentation",
            "off",
        ])?;
    }
    Ok(())
}

/// Lets a program open as many files as we may: thousands of clients are thousands of sockets.
fn with_files(mut prlimit: Command) -> Result<Command> {
    let limit = getrlimit(Resource::Nofile).maximum.context("no limit of open files")?;
    prlimit.arg(format!("--nofile={limit}:{limit}"));
    Ok(prlimit)
}

/// A port on which a relay is ready.
#[derive(Clone, Copy)]
pub(super) enum Listens {
    Udp(u16),
    Tcp(u16),
}

impl Listens {
    pub(super) fn address(self) -> SocketAddr {
        let (Self::Udp(port) | Self::Tcp(port)) = self;
        (RELAY, port).into()
    }

    /// Asked in the relay's namespace.
    fn holds(self) -> Result<bool> {
        let (file, port, state) = match self {
            Self::Udp(port) => ("/proc/thread-self/net/udp", port, "07"),
            Self::Tcp(port) => ("/proc/thread-self/net/tcp", port, "0A"),
        };
        let sockets = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
        let wanted = format!(":{port:04X}");
        Ok(sockets.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().is_some_and(|local| local.ends_with(&wanted));
            local && fields.nth(1) == Some(state)
        }))
    }
}

/// Gives an interface's receiving to a thread on a core; its process id.
pub(super) fn threaded(host: &Host, device: &str, core: &str) -> Result<u32> {
    with_sysfs(host, &format!("echo 1 > /sys/class/net/{device}/threaded"))
        .context("receiving by a thread takes Linux 5.12 and more")?;
    let name = format!("napi/{device}-");
    let thread = process::until(
        PATIENCE,
        || {
            let mut found = None;
            for entry in fs::read_dir("/proc").context("reading /proc")?.flatten() {
                let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                if comm.starts_with(&name) {
                    found = entry.file_name().to_string_lossy().parse::<u32>().ok();
                }
            }
            Ok(found)
        },
        || format!("the kernel made no thread {name}"),
    )?;
    process::quietly(Command::new("taskset").args([
        "--cpu-list",
        "--pid",
        core,
        &thread.to_string(),
    ]))?;
    Ok(thread)
}

/// Runs this in a shell that sees the host's interfaces in `/sys`.
fn with_sysfs(host: &Host, command: &str) -> Result<()> {
    // sysfs shows the namespace in which it was mounted.
    let words = format!("mount -t sysfs nearwire /sys && {command}");
    host.run(["unshare", "--mount", "sh", "-c", &words]).map(drop)
}
