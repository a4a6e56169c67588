//! The lab itself: reachability, what runs in a host, and that nothing stays.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use netns_tests::{
    Host, Lab, UdpEcho, can_connect, require_root, tcp_transfer, udp_round_trip, wait_until,
};

const SOON: Duration = Duration::from_secs(5);

/// `a - r - b`, routed in both families.
fn routed(lab: &Lab) -> Result<[Host; 3]> {
    let (a, r, b) = (lab.host("a")?, lab.router("r")?, lab.host("b")?);
    lab.link(&a, &r)
        .at_a(&["10.1.0.2/24", "fd00:1::2/64"])
        .at_b(&["10.1.0.1/24", "fd00:1::1/64"])
        .veth()?;
    lab.link(&r, &b)
        .at_a(&["10.2.0.1/24", "fd00:2::1/64"])
        .at_b(&["10.2.0.2/24", "fd00:2::2/64"])
        .veth()?;
    a.route("default", "10.1.0.1")?;
    a.route("default", "fd00:1::1")?;
    b.route("10.1.0.0/24", "10.2.0.1")?;
    b.route("fd00:1::/64", "fd00:2::1")?;
    Ok([a, r, b])
}

/// Two hosts on one veth, 10.0.0.1 and 10.0.0.2.
fn pair(lab: &Lab) -> Result<[Host; 2]> {
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    lab.link(&a, &b).at_a(&["10.0.0.1/24"]).at_b(&["10.0.0.2/24"]).veth()?;
    Ok([a, b])
}

#[test]
fn traffic_crosses_a_router_in_both_families() -> Result<()> {
    require_root();
    let lab = Lab::new("router")?;
    let [a, _r, b] = routed(&lab)?;
    for address in ["10.2.0.2", "fd00:2::2"] {
        a.run(["ping", "-c", "1", "-W", "2", address])?;
        let address: IpAddr = address.parse()?;
        let transfer = tcp_transfer(&a, &b, address, 3_000_001, SOON)?;
        assert_eq!(transfer.bytes, 3_000_001);
        let echo = UdpEcho::start(&b, (address, 0).into())?;
        udp_round_trip(&a, echo.address(), b"there and back", SOON)?;
    }
    Ok(())
}

#[test]
fn a_switch_makes_one_lan_of_several_hosts() -> Result<()> {
    let lab = Lab::new("switch")?;
    let switch = lab.switch("lan")?;
    let mut hosts = Vec::new();
    for number in 1..=3 {
        let host = lab.host(&format!("h{number}"))?;
        lab.link(&host, &switch)
            .at_a(&[&format!("10.0.0.{number}/24"), &format!("fd00::{number}/64")])
            .veth()?;
        hosts.push(host);
    }
    hosts[0].run(["ping", "-c", "1", "-W", "2", "10.0.0.3"])?;
    hosts[2].run(["ping", "-c", "1", "-W", "2", "fd00::2"])?;
    let refused = lab.link(&hosts[0], &switch).at_b(&["10.0.0.9/24"]).veth();
    assert!(format!("{:#}", refused.unwrap_err()).contains("a switch has no address"));
    Ok(())
}

#[test]
fn two_labs_with_equal_addresses_do_not_meet() -> Result<()> {
    let build = || -> Result<(Lab, [Host; 2])> {
        let lab = Lab::new("twin")?;
        let hosts = pair(&lab)?;
        Ok((lab, hosts))
    };
    std::thread::scope(|scope| -> Result<()> {
        let [one, two] = [scope.spawn(build), scope.spawn(build)].map(|thread| thread.join());
        let (_lab, [a, b]) = one.unwrap()?;
        let (_other_lab, [other_a, _other_b]) = two.unwrap()?;
        let listener = b.enter(|| TcpListener::bind("10.0.0.2:0"))??;
        let address = listener.local_addr()?;
        assert!(can_connect(&a, address, SOON));
        assert!(!can_connect(&other_a, address, SOON));
        Ok(())
    })
}

#[test]
fn mtu_and_checksum_offload_are_as_asked() -> Result<()> {
    let lab = Lab::new("settings")?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let link = lab
        .link(&a, &b)
        .at_a(&["10.0.0.1/24"])
        .at_b(&["10.0.0.2/24"])
        .mtu(1280)
        .without_tx_checksum_offload()
        .veth()?;
    let shown = b.ip(["link", "show", &link.device_b])?;
    assert!(shown.stdout.contains("mtu 1280"), "{}", shown.stdout);
    tcp_transfer(&a, &b, "10.0.0.2".parse()?, 100_000, SOON)?;
    Ok(())
}

#[test]
fn a_failed_run_tells_all() -> Result<()> {
    let lab = Lab::new("errors")?;
    let host = lab.host("h")?;
    let failed = host.run(["sh", "-c", "echo out; echo err >&2; exit 7"]).unwrap_err();
    let message = failed.to_string();
    for part in ["h: sh -c", "exit status: 7", "stdout: out", "stderr: err"] {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    let missing = host.run(["no-such-program"]).unwrap_err().to_string();
    assert_eq!(missing, "h: no-such-program: no-such-program not found");
    let mut without_path = host.command("ping");
    without_path.env("PATH", "/nonexistent");
    let missing = host.spawn_command(without_path).unwrap_err().to_string();
    assert!(missing.ends_with("apt-get install iputils-ping"), "{missing}");
    Ok(())
}

#[test]
fn a_process_is_heard_and_stopped() -> Result<()> {
    let lab = Lab::new("process")?;
    let host = lab.host("h")?;
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let process = host.spawn(["sh", "-c", script])?;
    assert_eq!(process.wait_for_line("read", SOON)?, "ready");
    assert!(process.is_running());
    let output = process.stop()?;
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stdout, "ready\nbye\n");

    let short = host.spawn(["echo", "hello"])?;
    let error = short.wait_for_line("goodbye", SOON).unwrap_err().to_string();
    assert!(error.contains("it has ended") && error.contains("hello"), "{error}");

    let endless = host.spawn(["sleep", "1000"])?;
    let error = endless.wait(Duration::from_millis(20)).unwrap_err().to_string();
    assert!(error.contains("h: sleep 1000: still running"), "{error}");
    Ok(())
}

#[test]
fn a_process_outlives_the_thread_that_spawned_it() -> Result<()> {
    let lab = Lab::new("thread")?;
    let host = lab.host("h")?;
    let process = host.enter(|| host.spawn(["sh", "-c", "read line; sleep 0.1; echo alive"]))??;
    process.wait_for_line("alive", SOON)?;
    Ok(())
}

#[test]
fn nothing_stays_after_a_drop() -> Result<()> {
    let watch = Watch::new()?;
    let lab = Lab::new("drop")?;
    let [a, b] = pair(&lab)?;
    watch.tie_to(&a.namespace_path())?;
    // A grandchild, which ends with its group.
    let process = a.spawn(["sh", "-c", "sleep 1000 & echo up; wait"])?;
    process.wait_for_line("up", SOON)?;
    let footprint = lab.footprint();
    wait_until(SOON, "two namespaces and two processes show", || footprint.leftovers().len() == 4);
    drop((process, a, b, lab));
    footprint.assert_clean();
    watch.assert_gone();
    Ok(())
}

#[test]
fn nothing_stays_after_a_panic() -> Result<()> {
    let watch = Watch::new()?;
    let lab = Lab::new("panic")?;
    let mut footprint = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let [a, b] = pair(&lab).unwrap();
        watch.tie_to(&b.namespace_path()).unwrap();
        let _process = a.spawn(["sleep", "1000"]).unwrap();
        footprint = Some(lab.footprint());
        panic!("on purpose");
    }));
    assert!(outcome.is_err());
    footprint.context("the lab was not built")?.assert_clean();
    watch.assert_gone();
    Ok(())
}

const VICTIM: &str = "NEARWIRE_LAB_VICTIM";

#[test]
fn nothing_stays_after_a_kill() -> Result<()> {
    let watch = Watch::new()?;
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", "victim", "--nocapture"])
        .env(VICTIM, "yes")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = victim.stdout.take().context("piped")?;
    let line = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("victim: ").map(|(_, rest)| rest.to_owned()))
        .context("the victim did not speak")?;
    let (path, sleeper) = line.split_once(' ').context("two words")?;
    watch.tie_to(path)?;
    victim.kill()?;
    victim.wait()?;
    watch.assert_gone();
    wait_until(SOON, "the victim's child ends", || {
        let state = std::fs::read_to_string(format!("/proc/{sleeper}/stat"));
        // A zombie is dead enough: reaping it is the business of whoever adopted it.
        state.map_or(true, |stat| stat.contains(") Z "))
    });
    Ok(())
}

#[test]
#[ignore = "run, and killed, by nothing_stays_after_a_kill"]
fn victim() -> Result<()> {
    if std::env::var_os(VICTIM).is_none() {
        return Ok(());
    }
    let lab = Lab::new("victim")?;
    let [a, _b] = pair(&lab)?;
    let sleeper = a.spawn(["sleep", "1000"])?;
    println!("\nvictim: {} {}", a.namespace_path(), sleeper.id());
    sleeper.wait(Duration::from_secs(60))?;
    Ok(())
}

/// Tells when a namespace is really destroyed: a veth tied to it goes with it.
struct Watch {
    host: Host,
}

impl Watch {
    const DEVICE: &str = "tie";

    fn new() -> Result<Self> {
        let host = Lab::new("watch")?.host("watch")?;
        Ok(Self { host })
    }

    fn tie_to(&self, namespace: &str) -> Result<()> {
        self.host.ip([
            "link",
            "add",
            Self::DEVICE,
            "type",
            "veth",
            "peer",
            "name",
            Self::DEVICE,
            "netns",
            namespace,
        ])?;
        assert!(self.holds());
        Ok(())
    }

    fn holds(&self) -> bool {
        self.host.run(["ip", "link", "show", Self::DEVICE]).is_ok()
    }

    #[track_caller]
    fn assert_gone(&self) {
        wait_until(SOON, "the namespace is destroyed", || !self.holds());
    }
}

#[test]
fn a_wait_in_vain_names_what() {
    let outcome = catch_unwind(|| wait_until(Duration::ZERO, "the moon", || false));
    let message = outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("the moon"), "{message}");
}

#[test]
fn a_closed_port_is_not_connected_to() -> Result<()> {
    let lab = Lab::new("closed")?;
    let [a, _b] = pair(&lab)?;
    let closed: SocketAddr = "10.0.0.2:9".parse()?;
    assert!(!can_connect(&a, closed, SOON));
    Ok(())
}
