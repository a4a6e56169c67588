//! The middle of a mesh: a host with a control plane and a relay, to which every node has a link.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Directory, MeshNode, PATIENCE, Programs};
use crate::host::Host;
use crate::lab::Lab;
use crate::process::Process;

/// Where control plane and relay are, for every node alike.
const ADDRESS: &str = "10.255.0.1";
const CONTROL: &str = "10.255.0.1:8443";

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
    programs: Programs,
    directory: Directory,
    control: Option<Process>,
    relay: Option<Process>,
    token: String,
    nodes: std::cell::Cell<u8>,
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
        let host = lab.host("hub")?;
        host.ip(["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"])?;
        host.sysctl("net.ipv4.ip_forward", if options.forwards { "1" } else { "0" })?;
        let directory = Directory::new("hub")?;
        let signed = rcgen::generate_simple_self_signed(vec![ADDRESS.to_owned()])
            .context("making a certificate")?;
        fs::write(directory.file("cert.pem"), signed.cert.pem())?;
        fs::write(directory.file("key.pem"), signed.signing_key.serialize_pem())?;
        let mut hub = Self {
            host,
            programs,
            directory,
            control: None,
            relay: None,
            token: String::new(),
            nodes: std::cell::Cell::new(0),
        };
        hub.start_control()?;
        let data = hub.directory.file("data");
        let words = ["token", "--data", data.to_str().context("UTF-8")?];
        hub.token = hub.run_control(&words)?.trim().to_owned();
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
        let mut command = self.host.command(self.programs.get("nearwire-control", "control")?);
        command.args(["serve", "--listen", CONTROL, "--data"]).arg(self.directory.file("data"));
        command.arg("--certificate").arg(self.directory.file("cert.pem"));
        command.arg("--private-key").arg(self.directory.file("key.pem"));
        let process = self.host.spawn_command(command)?;
        process.wait_for_line("serving", PATIENCE)?;
        self.control = Some(process);
        Ok(())
    }

    /// Kills the control plane.
    pub fn stop_control(&mut self) {
        self.control = None;
    }

    /// Kills the relay.
    pub fn stop_relay(&mut self) {
        self.relay = None;
    }

    /// Starts the relay, and names it to the control plane.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn start_relay(&mut self) -> Result<()> {
        let keys = self.admin_json(&["relays", "control-keys"])?;
        let key = keys.pointer("/keys/0/text").or_else(|| keys.pointer("/items/0/text"));
        let key = key.or_else(|| keys.pointer("/0/text")).and_then(Value::as_str);
        let key = key.with_context(|| format!("no control key in {keys}"))?.to_owned();
        let mut command = self.host.command(self.programs.get("nearwire-relay", "relay")?);
        let address = format!("{ADDRESS}:443");
        command.args(["--quic", &address, "--tls", &address, "--admin", "127.0.0.1:9443"]);
        command.args(["--lanes", &format!("{ADDRESS}:3478"), "--xdp", "off"]);
        command.args(["--control-keys", &key, "--self-signed", "relay.test"]);
        command.env("NO_COLOR", "1");
        let process = self.host.spawn_command(command)?;
        let line = process.wait_for_line("certificate_sha256", PATIENCE)?;
        let (_, digest) = line.split_once("certificate_sha256=").context("a fingerprint")?;
        let fingerprint: String =
            digest.trim_matches('"').chars().take_while(char::is_ascii_hexdigit).collect();
        ensure!(fingerprint.len() == 64, "no fingerprint in {line:?}");
        self.relay = Some(process);
        let regions = json!({ "regions": [{ "id": 1, "name": "hub", "relays": [{
            "host": "relay.test", "addresses": [ADDRESS], "tls_port": 443, "quic_port": 443,
            "certificates": [fingerprint],
        }] }] });
        let file = self.directory.file("regions.json");
        fs::write(&file, regions.to_string())?;
        self.admin(&["relays", "put", file.to_str().context("UTF-8")?])?;
        Ok(())
    }

    /// The address of the control plane.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{CONTROL}")
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
        let file = self.directory.file("policy.hujson");
        fs::write(&file, text)?;
        self.admin(&["policy", "put", "home", file.to_str().context("UTF-8")?])?;
        Ok(())
    }

    /// A new enrolment key, with more words of the command.
    ///
    /// # Errors
    /// When it is refused.
    pub fn auth_key(&self, more: &[&str]) -> Result<String> {
        let made = self.admin_json(&[&["keys", "create", "home"], more].concat())?;
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

    /// As [`Self::node`], but the node is behind a router that hides it (NAT), which is given too.
    ///
    /// # Errors
    /// As [`Self::node`], or without nftables.
    pub fn node_behind_nat(&self, lab: &Lab, name: &str) -> Result<(MeshNode, Host)> {
        let (host, router) = (lab.host(name)?, lab.router(&format!("{name}'s router"))?);
        let outside = self.connect(lab, &router)?;
        lab.link(&host, &router).at_a(&["192.168.1.2/24"]).at_b(&["192.168.1.1/24"]).veth()?;
        host.route("default", "192.168.1.1")?;
        // As home routers do: what nobody asked for leaves no trace, or it would take the port that
        // the node's own packet is to have.
        let rules = format!(
            "table ip nat {{ \
                chain out {{ type nat hook postrouting priority 100; oifname {outside} masquerade; }}; \
            }}; \
            table ip filter {{ \
                chain in {{ type filter hook input priority 0; \
                    iifname {outside} ct state new drop; }}; \
            }}"
        );
        router.run(["nft", &rules])?;
        Ok((MeshNode::start(host, name, &self.programs)?, router))
    }

    /// Gives a host a link and a default route; gives the link's name there.
    fn connect(&self, lab: &Lab, host: &Host) -> Result<String> {
        let number = self.nodes.get() + 1;
        self.nodes.set(number);
        let link = lab
            .link(host, &self.host)
            .at_a(&[&format!("10.{number}.0.1/24")])
            .at_b(&[&format!("10.{number}.0.254/24")])
            .veth()?;
        host.route("default", &format!("10.{number}.0.254"))?;
        Ok(link.device_a)
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
