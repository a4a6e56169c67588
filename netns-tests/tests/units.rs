//! The units of systemd as they are shipped, run by systemd: what they forbid is nothing that the
//! programs need.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::mesh::{Hub, HubOptions, Programs};
use netns_tests::{Lab, Machine, Pinger, ping, wait_until};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(60);
const NODE: &str = "nearwire.service";
const CONTROL: &str = "nearwire-control.service";
const RELAY: &str = "nearwire-relay.service";

fn unit(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

/// What systemd says of a unit.
fn property(machine: &Machine, unit: &str, name: &str) -> Result<String> {
    let said = machine.run(&["systemctl", "show", "--value", "--property", name, unit])?;
    Ok(said.trim().to_owned())
}

/// What a filter, a read-only file or a missing capability comes to.
fn assert_nothing_was_refused(machine: &Machine, unit: &str) {
    let log = machine.log(unit);
    for refusal in ["not permitted", "ermission denied", "ead-only file system"] {
        assert!(!log.contains(refusal), "{log}");
    }
}

/// `systemctl stop` ends it in time, and well.
fn stops(machine: &Machine, unit: &str) -> Result<()> {
    machine.run(&["systemctl", "stop", unit])?;
    assert_eq!(property(machine, unit, "Result")?, "success", "{}", machine.log(unit));
    assert_nothing_was_refused(machine, unit);
    Ok(())
}

/// The unit's limit of nice levels is used, where this machine lets anybody raise limits.
fn commands_go_before_packets(machine: &Machine) -> Result<()> {
    let limit = property(machine, NODE, "LimitNICE")?;
    let main = property(machine, NODE, "MainPID")?;
    let given =
        machine.run(&["prlimit", "--pid", &main, "--nice", "--noheadings", "-o", "SOFT"])?;
    if given.trim() != limit {
        println!("no CAP_SYS_RESOURCE here: systemd cannot give LimitNICE={limit}");
        return Ok(());
    }
    let nice = machine.run(&["ps", "-L", "-o", "nice=", "-p", &main])?;
    assert!(nice.lines().any(|line| line.trim() == "-10"), "{nice}");
    Ok(())
}

#[test]
fn a_node_runs_by_its_unit() -> Result<()> {
    let lab = Lab::new("unit-node")?;
    let programs = Programs::beside()?;
    let options = HubOptions { forwards: true, relay: false };
    let mut hub = Hub::start_with(&lab, options, programs.clone())?;
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    let other = hub.node(&lab, "other")?;
    other.up(&hub, &key, &[])?;
    let host = lab.host("machine")?;
    hub.connect(&lab, &host)?;
    let nearwire = programs.get("nearwire", "agent")?;
    let machine = Machine::boot(host, &[nearwire], &[unit("agent/nearwire.service")])?;
    let resolvers = fs::read(machine.file("/etc/resolv.conf"))?;
    let ca = machine.file("/etc/nearwire");
    fs::create_dir_all(&ca)?;
    fs::copy(hub.ca(), ca.join("ca.pem"))?;

    machine.run(&["systemctl", "start", NODE])?;
    wait_until(LONG, "the daemon serves", || machine.log(NODE).contains("serving"));
    let url = hub.url();
    let up = ["nearwire", "up", "--control", &url, "--ca", "/etc/nearwire/ca.pem"];
    let said = machine.run(&[&up[..], &["--hostname", "machine", "--auth-key", &key]].concat())?;
    assert_eq!(said.trim(), "connected");
    let status = || -> Result<Value> {
        Ok(serde_json::from_str(&machine.run(&["nearwire", "status", "--json"])?)?)
    };
    let own = status()?.pointer("/addresses/0").and_then(Value::as_str).map(str::to_owned);
    let (own, at_other) = (own.context("an address")?, other.address()?);
    let reaches = |name: &str| {
        let pinged = machine.output(&["ping", "-c", "1", "-W", "2", name]);
        pinged.is_ok_and(|pinged| pinged.status.success())
    };
    wait_until(LONG, "the other by name", || reaches("other.home.mesh"));
    ping(&other.host, &own)?;
    let pinned = fs::read_dir(machine.file("/sys/fs/bpf/nearwire"))?.count();
    assert!(pinned > 0, "the policy is pinned where all see it");
    commands_go_before_packets(&machine)?;

    // After a kill the next daemon takes over what was left.
    let pinger = Pinger::start(&machine.host, &at_other, Duration::from_millis(20))?;
    machine.run(&["systemctl", "kill", "--signal=KILL", NODE])?;
    wait_until(LONG, "the next daemon", || machine.log(NODE).contains("taken over"));
    pinger.wait_for_more(50, LONG)?;
    assert_eq!(property(&machine, NODE, "NRestarts")?, "1");
    wait_until(LONG, "connected", || status().is_ok_and(|status| status["state"] == "connected"));
    ping(&other.host, &own)?;
    drop(pinger);

    stops(&machine, NODE)?;
    assert_eq!(fs::read(machine.file("/etc/resolv.conf"))?, resolvers);
    assert!(machine.host.ip(["link", "show", "nearwire0"]).is_err(), "the interface is left");

    // As after a boot, and the control plane is away: it goes by what it has kept.
    hub.stop_control();
    machine.run(&["systemctl", "start", NODE])?;
    wait_until(LONG, "offline", || status().is_ok_and(|status| status["state"] == "offline"));
    ping(&other.host, &own)?;
    stops(&machine, NODE)
}

#[test]
fn the_servers_run_by_their_units() -> Result<()> {
    let lab = Lab::new("unit-servers")?;
    let (host, world) = (lab.host("machine")?, lab.host("world")?);
    let link = lab.link(&host, &world).at_a(&["10.1.0.1/24"]).at_b(&["10.1.0.2/24"]).veth()?;
    let programs = Programs::beside()?;
    let programs =
        [programs.get("nearwire-control", "control")?, programs.get("nearwire-relay", "relay")?];
    let units = [unit("control/nearwire-control.service"), unit("relay/nearwire-relay.service")];
    let machine = Machine::boot(host, &programs, &units)?;
    let etc = machine.file("/etc/nearwire");
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("control.toml"), "")?;
    machine.run(&["systemctl", "start", CONTROL])?;
    wait_until(LONG, "the control plane serves", || machine.log(CONTROL).contains("serving"));
    // As it tells one to begin.
    let token = machine.run(&["nearwire-control", "token"])?;
    let (token, url) = (format!("NEARWIRE_TOKEN={}", token.trim()), "http://127.0.0.1:8080");
    let url = format!("NEARWIRE_URL={url}");
    let admin = |words: &[&str]| -> Result<Value> {
        let before = ["env", &token, &url, "nearwire-control", "admin"];
        Ok(serde_json::from_str(&machine.run(&[&before[..], words, &["--json"]].concat())?)?)
    };
    admin(&["networks", "create", "home"])?;
    let keys = admin(&["relays", "control-keys"])?;
    let key = keys.pointer("/keys/0/text").and_then(Value::as_str).context("a control key")?;

    let at = "10.1.0.1";
    let config = format!(
        "control-keys = [\"{key}\"]\nself-signed = [\"{at}\"]\nlanes = \"{at}:3478\"\n\
         admin = \"127.0.0.1:9443\"\nxdp = \"{}\"\n",
        link.device_a
    );
    fs::write(etc.join("relay.toml"), config)?;
    machine.run(&["systemctl", "start", RELAY])?;
    wait_until(LONG, "the relay serves", || {
        let healthy = machine.output(&["curl", "-sSf", "http://127.0.0.1:9443/healthz"]);
        healthy.is_ok_and(|healthy| healthy.status.success())
    });
    let shown = machine.host.ip(["link", "show", "dev", &link.device_a])?.stdout;
    assert!(shown.contains("xdp"), "the switch is on the interface: {shown}");
    machine.run(&["systemctl", "reload", RELAY])?;
    for unit in [RELAY, CONTROL] {
        assert_eq!(property(&machine, unit, "NRestarts")?, "0", "{}", machine.log(unit));
        stops(&machine, unit)?;
    }
    // What it keeps is there for the next.
    machine.run(&["systemctl", "start", CONTROL])?;
    wait_until(LONG, "the network", || admin(&["networks", "list"]).is_ok());
    assert!(admin(&["networks", "list"])?.to_string().contains("home"));
    Ok(())
}
