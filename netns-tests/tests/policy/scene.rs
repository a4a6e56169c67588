//! A client, a server that enforces, and what tests ask of them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dataplane_common::DropReason;
use netns_tests::wireguard::{
    Implementation, PeerSettings, Tunnel, TunnelBuilder, nearwire_program,
};
use netns_tests::{Host, Lab, Output, Veth, can_connect};
use serde_json::Value;

pub(crate) const SOON: Duration = Duration::from_secs(10);
pub(crate) const BRIEFLY: Duration = Duration::from_secs(1);

pub(crate) const POLICY: &str = r#"{ "acls": [
  // The client may use one port of each kind, and ping.
  { "action": "accept", "src": ["10.9.0.1", "fd09::1"], "dst": ["*:80,8000-8999"], "proto": "tcp" },
  { "action": "accept", "src": ["10.9.0.1", "fd09::1"], "dst": ["*:53"], "proto": "udp" },
  { "action": "accept", "src": ["10.9.0.1"], "dst": ["10.9.0.2:*"], "proto": "icmp" },
  { "action": "accept", "src": ["fd09::1"], "dst": ["[fd09::2]:*"], "proto": "ipv6-icmp" },
] }"#;

/// A client and a server; the server enforces.
pub(crate) struct Scene {
    pub(crate) client: Host,
    pub(crate) server: Host,
    _link: Veth,
    _lab: Lab,
}

impl Scene {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let (client, server) = (lab.host("client")?, lab.host("server")?);
        let link =
            lab.link(&client, &server).at_a(&["10.0.0.1/24"]).at_b(&["10.0.0.2/24"]).veth()?;
        Ok(Self { client, server, _link: link, _lab: lab })
    }

    /// The tunnels of client and server, the server's with this policy.
    pub(crate) fn tunnels(&self, policy: &PolicyFile) -> Result<(Tunnel<'_>, Tunnel<'_>)> {
        self.tunnels_with(policy, |server| server)
    }

    /// As [`Self::tunnels`], with more said of the server.
    pub(crate) fn tunnels_with(
        &self,
        policy: &PolicyFile,
        more: impl FnOnce(TunnelBuilder) -> TunnelBuilder,
    ) -> Result<(Tunnel<'_>, Tunnel<'_>)> {
        let client = Tunnel::start(&self.client, Implementation::Nearwire)?;
        let server = Tunnel::builder(Implementation::Nearwire).arg("--policy").arg(&policy.0);
        let server = more(server).start(&self.server)?;
        client.configure(&["10.9.0.1/24", "fd09::1/64"])?;
        server.configure(&["10.9.0.2/24", "fd09::2/64"])?;
        let endpoint = Some("10.0.0.2".parse()?);
        let to_server =
            PeerSettings { allowed_ips: "0.0.0.0/0,::/0", endpoint, ..PeerSettings::default() };
        client.add_peer(&server, &to_server)?;
        // Any source, so that it is the policy which refuses one, not the tunnel.
        server.add_peer(
            &client,
            &PeerSettings { allowed_ips: "0.0.0.0/0,::/0", ..PeerSettings::default() },
        )?;
        Ok((client, server))
    }
}

/// A policy document in a file of its own.
pub(crate) struct PolicyFile(PathBuf);

impl PolicyFile {
    pub(crate) fn new(name: &str, text: &str) -> Result<Self> {
        let name = format!("nearwire-policy-{}-{name}.json", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text)?;
        Ok(file)
    }

    pub(crate) fn write(&self, text: &str) -> Result<()> {
        fs::write(&self.0, text).context("cannot write a policy")
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a temporary folder in UTF-8")
    }
}

impl Drop for PolicyFile {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.0);
    }
}

pub(crate) fn nearwire(host: &Host, words: &[&str]) -> Result<Output> {
    let program = nearwire_program()?;
    host.output([&[program.to_str().context("not UTF-8")?], words].concat())
}

pub(crate) fn status(tunnel: &Tunnel<'_>) -> Result<Value> {
    let output = nearwire(tunnel.host(), &["policy", "status", tunnel.name(), "--json"])?;
    ensure!(output.status.success(), "{}", output.stderr);
    Ok(serde_json::from_str(&output.stdout)?)
}

pub(crate) fn dropped(tunnel: &Tunnel<'_>, reason: DropReason) -> u64 {
    status(tunnel).ok().and_then(|all| all["drops"][reason.label()].as_u64()).unwrap_or(0)
}

pub(crate) fn allowed(tunnel: &Tunnel<'_>, rule: usize) -> u64 {
    status(tunnel).ok().and_then(|all| all["rules"][rule]["packets"].as_u64()).unwrap_or(0)
}

pub(crate) fn listen(host: &Host, address: &str) -> Result<TcpListener> {
    let address: SocketAddr = address.parse()?;
    Ok(host.enter(|| TcpListener::bind(address))??)
}

pub(crate) fn reach(host: &Host, address: &str) -> bool {
    can_connect(host, address.parse().expect("an address"), BRIEFLY)
}
