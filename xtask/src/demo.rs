//! `cargo xtask demo`: the main job, shown working on this machine.
//!
//! A control plane, a relay and two nodes behind NATs, each in a namespace of its own; `nearwire up`
//! brings the nodes together, and a policy says what may pass.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netns_tests::mesh::{Hub, HubOptions, MeshNode, Nat, Programs};
use netns_tests::{Host, Lab, can_connect};
use serde_json::Value;

use crate::{packages, workspace};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show the programs in this directory instead of building them
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
}

/// The port that the policy opens, and one that it does not.
const OPEN: u16 = 5201;
const CLOSED: u16 = 2222;

const POLICY: &str = r#"{
  "tagOwners": { "tag:client": ["me@example.com"], "tag:server": ["me@example.com"] },
  "acls": [
    // Clients may ping servers and use one of their ports. Nothing else.
    { "action": "accept", "src": ["tag:client"], "dst": ["tag:server:*"], "proto": "icmp" },
    { "action": "accept", "src": ["tag:client"], "dst": ["tag:server:5201"], "proto": "tcp" },
  ],
}"#;

/// Shows it; succeeds only if all of it happened.
pub(crate) fn run(args: Args) -> Result<()> {
    packages::ensure(packages::FOR_TUNNELS)?;
    packages::ensure(packages::FOR_NATS)?;
    let programs = match args.programs {
        Some(directory) => directory,
        None => {
            say("Building nearwire, nearwire-control and nearwire-relay (release)");
            workspace::build_programs()?
        }
    };
    let start = Instant::now();
    let demo = Demo::lay_out(Programs::at(programs))?;
    demo.bring_up()?;
    let address = demo.ping()?;
    demo.ping_by_name(&address)?;
    demo.move_data(&address)?;
    demo.knock_on_a_closed_port(&address)?;
    demo.change_keys()?;
    demo.show_status()?;
    demo.tear_down()?;
    println!("\nAll of it happened, in {:.1} s.", start.elapsed().as_secs_f64());
    Ok(())
}

struct Demo {
    client: MeshNode,
    server: MeshNode,
    /// Their namespaces live as long as these do.
    _routers: Vec<Host>,
    hub: Hub,
    lab: Lab,
}

impl Demo {
    fn lay_out(programs: Programs) -> Result<Self> {
        say("Making a control plane, a relay, and two hosts behind NATs, in network namespaces");
        let lab = Lab::new("demo")?;
        let options = HubOptions { forwards: true, relay: true };
        let hub = Hub::start_with(&lab, options, programs)?;
        let (client, mut routers) = hub.node_behind(&lab, "client", Nat::PortRestricted)?;
        let (server, others) = hub.node_behind(&lab, "server", Nat::PortRestricted)?;
        routers.extend(others);
        note("client 192.168.1.2 -- NAT 10.1.0.1 -- hub -- NAT 10.2.0.1 -- 192.168.1.2 server");
        note(&format!("the hub has the control plane, {}, and a relay", hub.url()));
        say("Putting a policy in force");
        POLICY.lines().for_each(note);
        hub.policy(POLICY)?;
        Ok(Self { client, server, _routers: routers, hub, lab })
    }

    fn bring_up(&self) -> Result<()> {
        say("Bringing both into the mesh");
        for node in [&self.server, &self.client] {
            let tag = format!("tag:{}", node.name);
            let key = self.hub.auth_key(&["--tag", &tag])?;
            note(&format!("hub$ nearwire-control admin keys create home --tag {tag}"));
            note(&format!(
                "{}$ nearwire up --control {} --auth-key nwk_...",
                node.name,
                self.hub.url()
            ));
            note(node.up(&self.hub, &key, &[])?.trim());
        }
        self.client.wait_for("the server as a peer", |status| {
            status["peers"].as_array().is_some_and(|peers| peers.len() == 1)
        });
        self.server.wait_for("a relay", |status| !status["relay"].is_null());
        Ok(())
    }

    fn ping(&self) -> Result<String> {
        say("Pinging the server: first by the relay, directly as soon as both NATs are open");
        let count = ["ping", "server", "--count", "5", "--interval", "500"];
        note("client$ nearwire ping server");
        self.client.nearwire(&count)?.lines().for_each(note);
        self.client.wait_for_path("server", "direct");
        note("client$ nearwire ping server");
        let direct = self.client.nearwire(&["ping", "server", "--count", "2"])?;
        direct.lines().for_each(note);
        ensure!(direct.contains("by direct"), "the path is not direct");
        self.server.address()
    }

    /// As any program of the host finds it: nobody told that program of the mesh.
    fn ping_by_name(&self, address: &str) -> Result<()> {
        say("Finding the server by its name, with the host's own programs");
        let name = "server.home.mesh";
        for words in [&["getent", "ahostsv4", name][..], &["ping", "-4", "-c", "2", name]] {
            note(&format!("client$ {}", words.join(" ")));
            let output = self.client.by_name(words)?;
            output.stdout.lines().filter(|line| !line.is_empty()).for_each(note);
            ensure!(output.status.success(), "`{}`: {}", words.join(" "), output.stderr);
            ensure!(output.stdout.contains(address), "{name} is not found at {address}");
        }
        Ok(())
    }

    fn move_data(&self, address: &str) -> Result<()> {
        say("Moving TCP through the mesh for three seconds");
        let port = OPEN.to_string();
        let server = &self.server.host;
        let listener = server.spawn(["iperf3", "-s", "-1", "--forceflush", "-p", &port])?;
        listener.wait_for_line("listening", Duration::from_secs(5))?;
        note(&format!("client$ iperf3 -c {address} -p {port} -t 3 -C cubic"));
        let flags = ["-c", address, "-p", &port, "-t", "3", "-C", "cubic", "--json"];
        let report = self.client.host.run([&["iperf3"], &flags[..]].concat())?;
        let report: Value = serde_json::from_str(&report.stdout).context("iperf3's report")?;
        let received = &report["end"]["sum_received"];
        let bytes = received["bytes"].as_f64().context("iperf3 received nothing")?;
        let rate = received["bits_per_second"].as_f64().context("iperf3 has no rate")?;
        ensure!(bytes > 0.0, "iperf3 received nothing");
        note(&format!("{:.0} MB received, {:.0} Mbit/s", bytes / 1e6, rate / 1e6));
        Ok(())
    }

    fn knock_on_a_closed_port(&self, address: &str) -> Result<()> {
        say("Knocking on a port that the policy does not open");
        let door = std::net::SocketAddr::new(address.parse()?, CLOSED);
        let listener = self.server.host.enter(|| std::net::TcpListener::bind(door))??;
        ensure!(
            !can_connect(&self.client.host, door, Duration::from_secs(2)),
            "the forbidden connection to port {CLOSED} was made"
        );
        drop(listener);
        note(&format!("no connection to port {CLOSED}, although something listens there"));
        Ok(())
    }

    fn change_keys(&self) -> Result<()> {
        say("Changing the client's WireGuard key");
        let before = self.client.status()?["key"].clone();
        note("client$ nearwire rotate");
        note(self.client.nearwire(&["rotate"])?.trim());
        self.client.wait_for("another key", |status| status["key"] != before);
        note(&format!("the key was {before}, and is {}", self.client.status()?["key"]));
        Ok(())
    }

    fn show_status(&self) -> Result<()> {
        say("What nearwire says of it");
        for words in [&["status"][..], &["policy", "status", &self.client.interface]] {
            note(&format!("client$ nearwire {}", words.join(" ")));
            self.client.nearwire(words)?.lines().for_each(note);
        }
        Ok(())
    }

    fn tear_down(self) -> Result<()> {
        say("Tearing down");
        for node in [&self.client, &self.server] {
            node.nearwire(&["down"])?;
            let link = ["ip", "link", "show", &node.interface];
            let there = node.host.output(link)?.status.success();
            ensure!(!there, "{} is still there", node.interface);
        }
        let footprint = self.lab.footprint();
        drop(self);
        if let [first, ..] = footprint.leftovers().as_slice() {
            bail!("left behind: {first}");
        }
        note("interfaces, namespaces and processes are gone");
        Ok(())
    }
}

fn say(what: &str) {
    println!("\n==> {what}");
}

fn note(what: &str) {
    println!("    {what}");
}
