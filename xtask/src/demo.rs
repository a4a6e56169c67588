//! `cargo xtask demo`: the main job, shown working on this machine.
//!
//! Two hosts and a router in namespaces of their own; a tunnel between the hosts, configured by
//! `wg`; a policy that the kernel enforces on one end.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netns_tests::{Host, Lab, Process, can_connect};
use serde_json::Value;

use crate::{packages, workspace};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show this nearwire instead of building one
    #[arg(long, value_name = "FILE", env = "NEARWIRE_BIN")]
    binary: Option<PathBuf>,
}

/// The port that the policy opens, and one that it does not.
const OPEN: u16 = 5201;
const CLOSED: u16 = 2222;

/// Shows it; succeeds only if all of it happened.
pub(crate) fn run(args: Args) -> Result<()> {
    packages::ensure(packages::FOR_TUNNELS)?;
    let binary = match args.binary {
        Some(binary) => binary,
        None => build()?,
    };
    let start = Instant::now();
    let demo = Demo::lay_out(binary)?;
    let (client, server) = demo.raise_tunnel()?;
    demo.ping()?;
    demo.move_data()?;
    demo.knock_on_a_closed_port()?;
    demo.show_status(&client, &server)?;
    demo.tear_down(client, server)?;
    println!("\nAll of it happened, in {:.1} s.", start.elapsed().as_secs_f64());
    Ok(())
}

fn build() -> Result<PathBuf> {
    say("Building nearwire (release)");
    workspace::build_nearwire()
}

struct Demo {
    binary: String,
    client: Host,
    server: Host,
    /// Interface names are this machine's sockets' names too: ours must not meet another's.
    client_wg: String,
    server_wg: String,
    policy: PathBuf,
    /// Its namespace lives as long as this does.
    _router: Host,
    lab: Lab,
}

impl Demo {
    fn lay_out(binary: PathBuf) -> Result<Self> {
        say("Making a client, a router and a server, each in a network namespace of its own");
        let lab = Lab::new("demo")?;
        let (client, router, server) =
            (lab.host("client")?, lab.router("router")?, lab.host("server")?);
        lab.link(&client, &router).at_a(&["192.0.2.1/24"]).at_b(&["192.0.2.254/24"]).veth()?;
        lab.link(&router, &server)
            .at_a(&["198.51.100.254/24"])
            .at_b(&["198.51.100.1/24"])
            .veth()?;
        client.route("default", "192.0.2.254")?;
        server.route("default", "198.51.100.254")?;
        note("client 192.0.2.1 -- router -- 198.51.100.1 server");
        let id = process::id();
        let policy = env::temp_dir().join(format!("nearwire-demo-{id}.json"));
        fs::write(&policy, policy_text())
            .with_context(|| format!("cannot write {}", policy.display()))?;
        Ok(Self {
            binary: binary.to_str().context("the path of nearwire is not UTF-8")?.to_owned(),
            client,
            server,
            client_wg: format!("democ{id}"),
            server_wg: format!("demos{id}"),
            policy,
            _router: router,
            lab,
        })
    }

    fn raise_tunnel(&self) -> Result<(Process, Process)> {
        say("Raising the tunnel: nearwire makes the interfaces, wg configures them");
        println!("    policy of the server:");
        policy_text().lines().for_each(|line| println!("      {line}"));
        let policy = self.policy.to_str().context("the temporary folder is not UTF-8")?;
        let client = self.start(&self.client, &["wg", "-f", &self.client_wg])?;
        let server = self.start(
            &self.server,
            &["wg", "-f", &self.server_wg, "--policy", policy, "--pin-dir", "none"],
        )?;
        let (client_key, server_key) = (keys(&self.client)?, keys(&self.server)?);
        configure(
            &self.client,
            &self.client_wg,
            &client_key.0,
            &[
                "peer",
                &server_key.1,
                "allowed-ips",
                "10.77.0.2/32",
                "endpoint",
                "198.51.100.1:51820",
            ],
        )?;
        configure(
            &self.server,
            &self.server_wg,
            &server_key.0,
            &["peer", &client_key.1, "allowed-ips", "10.77.0.1/32"],
        )?;
        for (host, interface, address) in [
            (&self.client, &self.client_wg, "10.77.0.1/24"),
            (&self.server, &self.server_wg, "10.77.0.2/24"),
        ] {
            host.ip(["address", "add", address, "dev", interface])?;
            host.ip(["link", "set", interface, "up"])?;
        }
        Ok((client, server))
    }

    /// Starts nearwire in the foreground and waits until it is ready.
    fn start(&self, host: &Host, args: &[&str]) -> Result<Process> {
        note(&format!("{}$ nearwire {}", host.name(), args.join(" ")));
        let process = host.spawn([&[self.binary.as_str()], args].concat())?;
        process.wait_for_line("ready", Duration::from_secs(10))?;
        Ok(process)
    }

    fn ping(&self) -> Result<()> {
        say("Pinging the server through the tunnel");
        let output = self.client.run(["ping", "-c", "3", "-i", "0.2", "10.77.0.2"])?;
        output.stdout.lines().filter(|line| !line.is_empty()).for_each(note);
        let handshake = self.client.run(["wg", "show", &self.client_wg, "latest-handshakes"])?;
        ensure!(!handshake.stdout.trim_end().ends_with("\t0"), "wg knows of no handshake");
        Ok(())
    }

    fn move_data(&self) -> Result<()> {
        say("Moving TCP through the tunnel for three seconds");
        let port = OPEN.to_string();
        let listener = self.server.spawn(["iperf3", "-s", "-1", "--forceflush", "-p", &port])?;
        listener.wait_for_line("listening", Duration::from_secs(5))?;
        note(&format!("client$ iperf3 -c 10.77.0.2 -p {port} -t 3 -C cubic"));
        let flags = ["-c", "10.77.0.2", "-p", &port, "-t", "3", "-C", "cubic", "--json"];
        let report = self.client.run([&["iperf3"], &flags[..]].concat())?;
        let report: Value = serde_json::from_str(&report.stdout).context("iperf3's report")?;
        let received = &report["end"]["sum_received"];
        let bytes = received["bytes"].as_f64().context("iperf3 received nothing")?;
        let rate = received["bits_per_second"].as_f64().context("iperf3 has no rate")?;
        ensure!(bytes > 0.0, "iperf3 received nothing");
        note(&format!("{:.0} MB received, {:.0} Mbit/s", bytes / 1e6, rate / 1e6));
        Ok(())
    }

    fn knock_on_a_closed_port(&self) -> Result<()> {
        say("Knocking on a port that the policy does not open");
        let before = self.policy_status()?;
        let door = std::net::SocketAddr::from(([10, 77, 0, 2], CLOSED));
        let listener = self.server.enter(|| std::net::TcpListener::bind(door))??;
        ensure!(
            !can_connect(&self.client, door, Duration::from_secs(2)),
            "the forbidden connection to port {CLOSED} was made"
        );
        drop(listener);
        let dropped = dropped(&self.policy_status()?)? - dropped(&before)?;
        ensure!(dropped > 0, "the kernel counted no drop");
        note(&format!("no connection to port {CLOSED}, although something listens there;"));
        note(&format!("the kernel dropped {dropped} packets for policy_no_rule"));
        Ok(())
    }

    fn policy_status(&self) -> Result<Value> {
        let args = [&self.binary, "policy", "status", &self.server_wg, "--json"];
        Ok(serde_json::from_str(&self.server.run(args)?.stdout)?)
    }

    fn show_status(&self, client: &Process, server: &Process) -> Result<()> {
        say("What wg and nearwire say of it");
        let shown = self.server.run(["wg", "show", &self.server_wg])?;
        note(&format!("server$ wg show {}", self.server_wg));
        shown.stdout.lines().for_each(note);
        note(&format!("server$ nearwire policy status {}", self.server_wg));
        let status = self.server.run([&self.binary, "policy", "status", &self.server_wg])?;
        status.stdout.lines().for_each(note);
        ensure!(client.is_running() && server.is_running(), "a nearwire has ended by itself");
        Ok(())
    }

    fn tear_down(self, client: Process, server: Process) -> Result<()> {
        say("Tearing down");
        for process in [client, server] {
            let output = process.stop()?;
            ensure!(output.status.success(), "nearwire ended with {}", output.status);
        }
        for (host, interface) in [(&self.client, &self.client_wg), (&self.server, &self.server_wg)]
        {
            ensure!(
                !host.output(["ip", "link", "show", interface])?.status.success(),
                "{interface} is still there"
            );
        }
        fs::remove_file(&self.policy).context("cannot remove the demo's policy")?;
        let footprint = self.lab.footprint();
        drop(self);
        if let [first, ..] = footprint.leftovers().as_slice() {
            bail!("left behind: {first}");
        }
        note("interfaces, namespaces and processes are gone");
        Ok(())
    }
}

fn policy_text() -> String {
    format!(
        r#"{{ "acls": [
  // The client may ping the server and use one of its ports. Nothing else.
  {{ "action": "accept", "src": ["10.77.0.1"], "dst": ["10.77.0.2:*"], "proto": "icmp" }},
  {{ "action": "accept", "src": ["10.77.0.1"], "dst": ["10.77.0.2:{OPEN}"], "proto": "tcp" }},
] }}"#
    )
}

/// A private key and its public key, both in base64.
fn keys(host: &Host) -> Result<(String, String)> {
    let made = host.run(["sh", "-c", "key=$(wg genkey) && echo $key && echo $key | wg pubkey"])?;
    let mut lines = made.stdout.lines().map(str::to_owned);
    let pair = lines.next().zip(lines.next());
    pair.context("wg made no keys")
}

fn configure(host: &Host, interface: &str, private: &str, peer: &[&str]) -> Result<()> {
    note(&format!(
        "{}$ wg set {interface} listen-port 51820 private-key ... {}",
        host.name(),
        peer.join(" ")
    ));
    let script = format!("echo {private} | wg set \"$@\"");
    let set = ["sh", "-c", &script, "sh", interface, "listen-port", "51820", "private-key"];
    host.run([&set[..], &["/dev/stdin"], peer].concat())?;
    Ok(())
}

fn dropped(status: &Value) -> Result<u64> {
    let drops = status["drops"].as_object().context("no drops in the policy's status")?;
    Ok(drops.get("policy_no_rule").and_then(Value::as_u64).unwrap_or(0))
}

fn say(what: &str) {
    println!("\n==> {what}");
}

fn note(what: &str) {
    println!("    {what}");
}
