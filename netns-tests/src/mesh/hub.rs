//! The middle of a mesh: a host with a control plane and a relay, to which every node has a link.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::clock::Clock;
use super::wires::{Links, Wires};
use super::{Directory, MeshNode, PATIENCE, Programs};
use crate::host::Host;
use crate::lab::Lab;
use crate::process::Process;

/// Where the first control plane and the first relay are, for every node alike.
pub(super) const ADDRESS: &str = "10.255.0.1";
pub(super) const RELAY_ADMIN: &str = "127.0.0.1:9443";
pub(super) const CONTROL: &str = "10.255.0.1:8443";
/// Its name, for those who know no IPv4.
pub(super) const NAME: &str = "control.test";
/// Where the other instance of the control plane is.
const OTHER: &str = "10.255.0.2:8443";
/// Where relays are. The ports of their pages for operators follow the first's.
pub(super) const RELAYS: [&str; 3] = [ADDRESS, "10.255.0.2", "10.255.0.3"];
/// A second address of the first relay, for STUN.
pub(super) const SECOND: &str = "10.255.0.9";
/// What seals a database of several instances.
const SEAL: &str = "bmVhcndpcmUncyB0ZXN0cyBzZWFsIHdpdGggdGhpcyE=";

/// What runs in the middle.
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// Whether nodes reach each other through it without a tunnel.
    pub forwards: bool,
    /// Whether there is a relay.
    pub relay: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Hub {
    /// Its host.
    pub host: Host,
    pub(super) programs: Programs,
    pub(super) directory: Directory,
    /// A PostgreSQL for several instances; else there is one, on SQLite.
    database: Option<String>,
    control: Option<Process>,
    other: Option<Process>,
    pub(super) relays: Vec<Process>,
    /// Whether the first relay has a second address.
    pub(super) second: bool,
    /// The relays'.
    pub(super) clock: Clock,
    /// The other instance's.
    other_clock: Clock,
    token: String,
    pub(super) nodes: std::cell::Cell<u8>,
    /// How long links to nodes take, one way.
    pub(super) delay: Duration,
    pub(super) wires: Wires,
    pub(super) links: Links,
    /// What runs on routers; it ends with the hub, and what it has written goes.
    pub(super) services: std::cell::RefCell<Vec<Process>>,
    pub(super) directories: std::cell::RefCell<Vec<Directory>>,
}

impl Hub {
    /// Starts what runs there, with a network `home` in which everybody may reach everybody.
    ///
    /// # Errors
    /// When a program is missing or does not start.
    pub fn start(lab: &Lab, options: HubOptions) -> Result<Self> {
        Self::start_with(lab, options, Programs::beside()?)
    }

    /// As [`Self::start`], with these programs.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(lab: &Lab, options: HubOptions, programs: Programs) -> Result<Self> {
        Self::start_on(lab, options, programs, None)
    }

    /// As [`Self::start_with`], with two instances of the control plane on this PostgreSQL.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on(
        lab: &Lab,
        options: HubOptions,
        programs: Programs,
        database: Option<String>,
    ) -> Result<Self> {
        let host = lab.host("hub")?;
        for address in RELAYS {
            host.ip(["address", "add", &format!("{address}/32"), "dev", "lo"])?;
        }
        host.sysctl("net.ipv4.ip_forward", if options.forwards { "1" } else { "0" })?;
        let directory = Directory::new("hub")?;
        let signed = rcgen::generate_simple_self_signed(
            [&RELAYS[..], &[NAME]].concat().iter().map(|&name| name.to_owned()).collect::<Vec<_>>(),
        )
        .context("making a certificate")?;
        fs::write(directory.file("cert.pem"), signed.cert.pem())?;
        fs::write(directory.file("key.pem"), signed.signing_key.serialize_pem())?;
        fs::write(directory.file("seal.key"), SEAL)?;
        fs::set_permissions(directory.file("seal.key"), fs::Permissions::from_mode(0o600))?;
        let clock = Clock::new(&directory, "relays");
        let other_clock = Clock::new(&directory, "other");
        let mut hub = Self {
            host,
            programs,
            directory,
            database,
            control: None,
            other: None,
            relays: Vec::new(),
            second: false,
            clock,
            other_clock,
            token: String::new(),
            nodes: std::cell::Cell::new(0),
            delay: Duration::ZERO,
            wires: Wires::default(),
            links: Links::default(),
            services: std::cell::RefCell::default(),
            directories: std::cell::RefCell::default(),
        };
        hub.start_control()?;
        let place = hub.place()?;
        let words: Vec<&str> =
            ["token"].into_iter().chain(place.iter().map(String::as_str)).collect();
        hub.token = hub.run_control(&words)?.trim().to_owned();
        if hub.database.is_some() {
            hub.other = Some(hub.instance(OTHER)?);
        }
        hub.admin(&["networks", "create", "home"])?;
        hub.policy(r#"{ "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }] }"#)?;
        if options.relay {
            hub.start_relay()?;
        }
        Ok(hub)
    }

    /// Starts the control plane, or starts it again.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn start_control(&mut self) -> Result<()> {
        self.control = Some(self.instance(CONTROL)?);
        Ok(())
    }

    /// An instance of the control plane that listens here.
    fn instance(&self, listen: &str) -> Result<Process> {
        let mut command = self.host.command(self.programs.get("nearwire-control", "control")?);
        command.args(["serve", "--listen", listen]).args(self.place()?);
        command.arg("--certificate").arg(self.directory.file("cert.pem"));
        command.arg("--private-key").arg(self.directory.file("key.pem"));
        if listen == OTHER {
            self.other_clock.show(&mut command);
        }
        let process = self.host.spawn_command(command)?;
        process.wait_for_line("serving", PATIENCE)?;
        Ok(process)
    }

    /// Starts the other instance again, with a clock that is so many minutes ahead of everybody else's;
    /// gives what it has said of it.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn set_clock_of_the_other(&mut self, minutes: u32) -> Result<String> {
        self.other_clock.set(&format!("+{minutes}m"))?;
        self.other = None;
        let other = self.other.insert(self.instance(OTHER)?);
        Ok(other.stderr_so_far())
    }

    /// The words that tell where the database is.
    fn place(&self) -> Result<Vec<String>> {
        let text = |file: &str| {
            let file = self.directory.file(file);
            file.to_str().map(str::to_owned).context("UTF-8")
        };
        let mut words = vec!["--data".to_owned(), text("data")?];
        if let Some(database) = &self.database {
            words.extend(["--database".to_owned(), database.clone()]);
            words.extend(["--seal-key-file".to_owned(), text("seal.key")?]);
        }
        Ok(words)
    }

    /// Sends whoever comes to the first instance to the other, or no more.
    ///
    /// # Errors
    /// Without nftables.
    pub fn turn_to_the_other(&self, turned: bool) -> Result<()> {
        let (from, port) = CONTROL.split_once(':').context("a port")?;
        let rule = format!("ip daddr {from} tcp dport {port} dnat to {OTHER}");
        // What comes from nodes, and what comes from here.
        let rules = format!(
            "table ip turn {{ \
                chain in {{ type nat hook prerouting priority -100; {rule}; }}; \
                chain here {{ type nat hook output priority -100; {rule}; }}; \
            }}"
        );
        let rules = if turned { rules.as_str() } else { "delete table ip turn" };
        self.host.run(["nft", rules]).map(drop)
    }

    /// Kills the control plane.
    pub fn stop_control(&mut self) {
        self.control = None;
    }

    /// Has the control plane stand still: whoever connects hears nothing.
    ///
    /// # Errors
    /// When there is none.
    pub fn mute_control(&self, mute: bool) -> Result<()> {
        let control = self.control.as_ref().context("there is no control plane")?;
        control.signal(if mute { Signal::STOP } else { Signal::CONT })
    }

    /// Changes what the control plane keeps of its nodes, as time would: by way of a backup.
    ///
    /// # Errors
    /// When it cannot be backed up, restored, or started again.
    pub fn change_nodes(&mut self, change: impl Fn(&mut Value)) -> Result<()> {
        self.stop_control();
        let (data, backup) = (self.directory.file("data"), self.directory.file("backup"));
        let words = |what| -> Result<[String; 4]> {
            let text = |path: &std::path::Path| path.to_str().map(str::to_owned).context("UTF-8");
            Ok([String::from(what), "--data".to_owned(), text(&data)?, text(&backup)?])
        };
        self.run_control(&words("backup")?.each_ref().map(String::as_str))?;
        let changed: Vec<String> = fs::read_to_string(&backup)?
            .lines()
            .map(|line| {
                let mut row: Value = serde_json::from_str(line)?;
                if row[0] == "nodes"
                    && let Some(record) = row.pointer_mut("/1/11")
                {
                    let mut node = serde_json::from_str(record.as_str().context("a record")?)?;
                    change(&mut node);
                    *record = Value::String(node.to_string());
                }
                Ok(row.to_string())
            })
            .collect::<Result<_>>()?;
        fs::write(&backup, changed.join("\n"))?;
        for file in fs::read_dir(&data)? {
            let file = file?.path();
            if file.to_string_lossy().contains(".db") {
                fs::remove_file(file)?;
            }
        }
        self.run_control(&words("restore")?.each_ref().map(String::as_str))?;
        fs::remove_file(&backup)?;
        self.start_control()
    }

    /// The address of the control plane.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{CONTROL}")
    }

    /// The same, by its name.
    pub(super) fn named_url(&self) -> Result<String> {
        let (_, port) = CONTROL.split_once(':').context("a port")?;
        Ok(format!("https://{NAME}:{port}"))
    }

    /// The address of its other instance.
    #[must_use]
    pub fn other_url(&self) -> String {
        format!("https://{OTHER}")
    }

    /// The file with its certificate.
    #[must_use]
    pub fn ca(&self) -> String {
        self.directory.file("cert.pem").to_string_lossy().into_owned()
    }

    /// Does what an operator does, and gives what was printed.
    ///
    /// # Errors
    /// When it is refused.
    pub fn admin(&self, words: &[&str]) -> Result<String> {
        self.run_control(&[&["admin"], words].concat())
    }

    /// As [`Self::admin`], as JSON.
    ///
    /// # Errors
    /// As [`Self::admin`].
    pub fn admin_json(&self, words: &[&str]) -> Result<Value> {
        let printed = self.run_control(&[&["admin"], words, &["--json"]].concat())?;
        serde_json::from_str(&printed).with_context(|| format!("no JSON: {printed}"))
    }

    /// Puts a policy in force.
    ///
    /// # Errors
    /// When it is refused.
    pub fn policy(&self, text: &str) -> Result<()> {
        self.policy_of("home", text)
    }

    /// As [`Self::policy`], in another network.
    ///
    /// # Errors
    /// As [`Self::policy`].
    pub fn policy_of(&self, network: &str, text: &str) -> Result<()> {
        let file = self.directory.file("policy.hujson");
        fs::write(&file, text)?;
        self.admin(&["policy", "put", network, file.to_str().context("UTF-8")?])?;
        Ok(())
    }

    /// A new enrolment key, with more words of the command.
    ///
    /// # Errors
    /// When it is refused.
    pub fn auth_key(&self, more: &[&str]) -> Result<String> {
        self.auth_key_of("home", more)
    }

    /// As [`Self::auth_key`], of another network.
    ///
    /// # Errors
    /// As [`Self::auth_key`].
    pub fn auth_key_of(&self, network: &str, more: &[&str]) -> Result<String> {
        let made = self.admin_json(&[&["keys", "create", network], more].concat())?;
        let secret = made.get("secret").and_then(Value::as_str);
        Ok(secret.with_context(|| format!("no secret in {made}"))?.to_owned())
    }

    /// Makes a host with a link to the hub, and a node's daemon there.
    ///
    /// # Errors
    /// When the link or the process cannot be made.
    pub fn node(&self, lab: &Lab, name: &str) -> Result<MeshNode> {
        let host = lab.host(name)?;
        self.connect(lab, &host)?;
        MeshNode::start(host, name, &self.programs)
    }

    fn run_control(&self, words: &[&str]) -> Result<String> {
        let mut command = self.host.command(self.programs.get("nearwire-control", "control")?);
        command.args(words).env("NEARWIRE_URL", self.url()).env("NEARWIRE_TOKEN", &self.token);
        command.env("NEARWIRE_CA", self.ca());
        let output = self.host.spawn_command(command)?.wait(PATIENCE)?;
        ensure!(output.status.success(), "{words:?}: {}{}", output.stdout, output.stderr);
        Ok(output.stdout)
    }
}
