//! A host with the mesh's interface and files of its own, and a resolver of the world beside it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netns_tests::{Host, Lab, Output, Process, Tun, Veth};
use proto::control::{Dns, Me, Network, Peer, Snapshot, Standing};
use proto::key::PublicKey;
use proto::ticket::NetworkId;
use rustix::process::Signal;

pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Where the mesh's names are answered.
pub(crate) const OURS: &str = "169.254.53.53";
/// The resolver of the world.
pub(crate) const WORLD: &str = "10.9.0.1";
/// An address on the link that nobody has.
pub(crate) const NOBODY: &str = "10.9.0.9";
/// What hosts have before we come.
pub(crate) const BEFORE: &str = "# mine\nnameserver 10.9.0.1\nsearch lan\noptions timeout:2\n";

/// The words that start a dnsmasq that listens at one address and knows nothing but what `more` says.
pub(crate) fn dnsmasq(listen: &str, more: &[&str]) -> Vec<String> {
    let listen = format!("--listen-address={listen}");
    let words = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        &listen,
        "--user=root",
        "--pid-file",
        "--log-queries",
        "--log-facility=-",
    ];
    words.iter().chain(more).map(ToString::to_string).collect()
}

pub(crate) struct World {
    // In the order in which they have to go.
    pub(crate) names: Option<Process>,
    pub(crate) upstream: Process,
    pub(crate) etc: Process,
    pub(crate) tun: Tun,
    _link: Veth,
    pub(crate) host: Host,
    pub(crate) world: Host,
    pub(crate) scratch: PathBuf,
    _lab: Lab,
}

impl World {
    /// A host with a plain `/etc/resolv.conf`.
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::with(
            name,
            "mount -t overlay none -o lowerdir=/etc,upperdir=$S/up,workdir=$S/work /etc\n",
        )
    }

    /// A host whose files a script makes; `$S` is a directory of its own.
    pub(crate) fn with(name: &str, files: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let scratch = format!("nearwire-names-{}-{number}", std::process::id());
        let scratch = std::env::temp_dir().join(scratch);
        fs::create_dir_all(&scratch)?;
        let lab = Lab::new(name)?;
        let (host, world) = (lab.host("host")?, lab.host("world")?);
        let link = lab.link(&world, &host).at_a(&["10.9.0.1/24"]).at_b(&["10.9.0.2/24"]).veth()?;
        let tun = Tun::open(&host, "100.64.0.1/10")?;
        host.ip(["address", "add", OURS, "dev", tun.name(), "scope", "host"])?;
        let txt =
            format!("--txt-record=long.example{}", format!(",{}", "x".repeat(200)).repeat(20));
        let upstream = world.spawn(dnsmasq(
            "10.9.0.1",
            &[
                "--local=/lan/example/",
                "--host-record=www.example,192.0.2.1",
                "--host-record=nas.lan,192.0.2.7",
                &txt,
            ],
        ))?;
        upstream.wait_for_line("started", SOON)?;
        let script = format!(
            "S={}; mount -t tmpfs none $S; mkdir -p $S/up $S/work $S/state\n\
             mount -t tmpfs none /run; mkdir -p /run/dbus\n{files}\n\
             [ -e /etc/resolv.conf ] && [ -z \"$KEEP\" ] && cat > /etc/resolv.conf <<'END'\n{BEFORE}END\n\
             echo ready; exec sleep infinity\n",
            scratch.display()
        );
        let etc =
            host.spawn(["unshare", "--mount", "--propagation", "private", "sh", "-ec", &script])?;
        etc.wait_for_line("ready", SOON)?;
        let names = None;
        let world =
            Self { names, upstream, etc, tun, _link: link, host, world, scratch, _lab: lab };
        world.tell(&snapshot(1, &[("web", 5)]))?;
        Ok(world)
    }

    fn inside(&self, words: &[&str]) -> Vec<String> {
        let enter = ["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.etc.id())];
        let words = words.iter().map(|word| (*word).to_owned());
        enter.into_iter().chain(["--".to_owned()]).chain(words).collect()
    }

    /// Runs a program among the host's files.
    pub(crate) fn run(&self, words: &[&str]) -> Result<Output> {
        self.host.run(self.inside(words))
    }

    pub(crate) fn output(&self, words: &[&str]) -> Result<Output> {
        self.host.output(self.inside(words))
    }

    /// Starts a program among the host's files.
    pub(crate) fn spawn(&self, words: &[&str]) -> Result<Process> {
        self.host.spawn(self.inside(words))
    }

    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        Ok(self.run(&["sh", "-ec", script])?.stdout)
    }

    pub(crate) fn resolv_conf(&self) -> Result<String> {
        self.shell("cat /etc/resolv.conf")
    }

    fn file(&self, name: &str) -> String {
        self.scratch.join(name).to_string_lossy().into_owned()
    }

    /// What the control plane says from now on; gives what a resolver that runs says then.
    pub(crate) fn tell(&self, snapshot: &Snapshot) -> Result<String> {
        let text = serde_json::to_string(snapshot)?;
        self.run(&["sh", "-ec", "printf %s \"$1\" > \"$0\"", &self.file("snapshot.json"), &text])?;
        if let Some(names) = &self.names {
            names.signal(Signal::HUP)?;
            return names.wait_for_line(&format!("revision {} ", snapshot.revision), SOON);
        }
        Ok(String::new())
    }

    /// Starts the resolver; its first line says how it is told.
    pub(crate) fn start(&mut self) -> Result<String> {
        let program = example()?;
        let (snapshot, state) = (self.file("snapshot.json"), self.file("state"));
        let program = program.to_string_lossy();
        let names = self.spawn(&[&program, &snapshot, self.tun.name(), &state])?;
        let line = names.wait_for_line("revision ", SOON)?;
        ensure!(line.contains(" Ok(()) "), "{line}");
        self.names = Some(names);
        Ok(line)
    }

    /// Ends the resolver as a service manager does.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let names = self.names.take().context("it is not started")?;
        let output = names.stop()?;
        ensure!(output.status.success(), "{}", output.stderr);
        Ok(())
    }

    /// Ends it so that it can undo nothing.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let names = self.names.take().context("it is not started")?;
        names.signal(Signal::KILL)?;
        names.wait(SOON).map(drop)
    }

    /// What a service manager runs after the end.
    pub(crate) fn restore(&self) -> Result<String> {
        let program = example()?;
        Ok(self.run(&[&program.to_string_lossy(), "restore", &self.file("state")])?.stdout)
    }

    /// What the host's own programs find under a name.
    pub(crate) fn getent(&self, name: &str) -> Result<Option<String>> {
        let output = self.output(&["getent", "ahostsv4", name])?;
        Ok(output.stdout.split_whitespace().next().map(str::to_owned))
    }

    /// Asks by `dig`, here if nothing else is said.
    pub(crate) fn dig(&self, words: &[&str]) -> Result<String> {
        let at = format!("@{OURS}");
        let mut all = vec!["dig", "+tries=1", "+timeout=6"];
        if !words.iter().any(|word| word.starts_with('@')) {
            all.push(&at);
        }
        all.extend(words);
        let output = self.output(&all)?;
        ensure!(output.status.success(), "{}{}", output.stdout, output.stderr);
        Ok(output.stdout)
    }

    pub(crate) fn short(&self, words: &[&str]) -> Result<String> {
        let all: Vec<&str> = words.iter().copied().chain(["+short"]).collect();
        Ok(self.dig(&all)?.trim().to_owned())
    }

    /// How often the world was asked something of this kind.
    pub(crate) fn world_was_asked(&self, what: &str) -> usize {
        let log = self.upstream.output_so_far();
        log.lines().filter(|line| line.contains("query[") && line.contains(what)).count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Cargo builds examples with the tests: with `cargo test -- NAME`, not with `cargo test NAME`.
fn example() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let directory = test.parent().and_then(Path::parent).context("where is this test?")?;
    let program = directory.join("examples/names");
    ensure!(program.exists(), "{} is not built: `cargo test` does", program.display());
    Ok(program)
}

/// A network with these nodes, by the last part of their addresses.
pub(crate) fn snapshot(revision: u64, nodes: &[(&str, u8)]) -> Snapshot {
    let id = |number: u8| format!("n{number:032x}").parse().expect("an id");
    let addresses = |number: u8| {
        let v6 = format!("fd00:7::{number:x}").parse().expect("an address");
        vec![[100, 64, 0, number].into(), v6]
    };
    let key = PublicKey::from([7; 32]);
    let peer = |(name, number): &(&str, u8)| Peer {
        id: id(*number),
        name: (*name).to_owned(),
        key,
        next_key: None,
        addresses: addresses(*number),
        routes: Vec::new(),
        disco: None,
        endpoints: Vec::new(),
        home: None,
        relay: None,
        online: true,
    };
    Snapshot {
        revision,
        network: Network {
            id: NetworkId([1; 16]),
            name: "home".to_owned(),
            v4: "100.64.0.0/10".parse().expect("a range"),
            v6: "fd00:7::/48".parse().expect("a range"),
            flow_logs: 0,
        },
        me: Me {
            id: id(1),
            name: "host".to_owned(),
            addresses: addresses(1),
            user: None,
            tags: Vec::new(),
            key,
            next_key: None,
            routes: Vec::new(),
            standing: Standing::Approved,
            expires: None,
            rotate: None,
            control_keys: Vec::new(),
        },
        peers: nodes.iter().map(peer).collect(),
        regions: Vec::new(),
        relaying: Vec::new(),
        paths: Vec::new(),
        ticket: None,
        filter: serde_json::value::to_raw_value(&()).expect("JSON"),
        rules: Vec::new(),
        dns: Dns { domain: "home.mesh".to_owned(), forward: BTreeMap::new() },
    }
}

/// The same, where others are asked for a domain.
pub(crate) fn asking(mut snapshot: Snapshot, domain: &str, whom: &str) -> Snapshot {
    let whom: SocketAddr = format!("{whom}:53").parse().expect("an address");
    snapshot.dns.forward.insert(domain.to_owned(), vec![whom]);
    snapshot
}
