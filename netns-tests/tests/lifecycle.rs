//! How a nearwire begins and ends.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use netns_tests::wireguard::{
    Background, INITIATION_INTERVAL, INNER_A, INNER_B, Implementation, OUTER_A, OUTER_B, Pairing,
    PeerSettings, Tunnel, nearwire_program, unique_interface, wired_hosts,
};
use netns_tests::{Host, Lab, Output, Pinger, ping, udp_socket, wait_until};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(10);
/// What an orderly end may take.
const END_WITHIN: Duration = Duration::from_secs(2);
/// How often an interface goes down and up.
const CYCLES: usize = 10;

/// `nearwire wg` with these words, to its end.
fn wg(host: &Host, words: &[&str]) -> Result<Output> {
    let program = nearwire_program()?;
    let mut all = vec![program.as_os_str(), "wg".as_ref()];
    all.extend(words.iter().map(|word| std::ffi::OsStr::new(*word)));
    host.spawn(all)?.wait(SOON)
}

/// nearwire at both ends, not connected yet.
fn both(hosts: &[Host; 2]) -> Result<[Tunnel<'_>; 2]> {
    let [a, b] = hosts;
    Ok([Tunnel::start(a, Implementation::Nearwire)?, Tunnel::start(b, Implementation::Nearwire)?])
}

fn interface_is_there(host: &Host, name: &str) -> Result<bool> {
    Ok(host.output(["ip", "link", "show", name])?.status.success())
}

fn sockets(name: &str) -> Vec<String> {
    ["/var/run/wireguard", "/var/run/nearwire"]
        .map(|directory| format!("{directory}/{name}.sock"))
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .collect()
}

fn assert_nothing_left(host: &Host, name: &str) -> Result<()> {
    assert!(!interface_is_there(host, name)?, "{name} is still there");
    assert_eq!(sockets(name), Vec::<String>::new());
    Ok(())
}

/// Starts a daemon in the foreground with a peer that it talks to, has it ended, and looks.
fn ends_cleanly(by: impl FnOnce(&Tunnel<'_>) -> Result<()>) -> Result<()> {
    let lab = Lab::new("end")?;
    let hosts = wired_hosts(&lab)?;
    let tunnel = Tunnel::start(&hosts[0], Implementation::Nearwire)?;
    let other = Tunnel::start(&hosts[1], Implementation::Nearwire)?;
    Pairing::over_v4().connect(&tunnel, &other)?;
    let pinger = Pinger::start(&hosts[0], INNER_B[0], Duration::from_millis(20))?;
    assert_eq!(sockets(tunnel.name()).len(), 2);
    by(&tunnel)?;
    let name = tunnel.name().to_owned();
    let output = tunnel.wait(END_WITHIN)?;
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    for word in ["ERROR", "WARN", "panicked"] {
        assert!(!output.stderr.contains(word), "{}", output.stderr);
    }
    drop(pinger);
    assert_nothing_left(&hosts[0], &name)
}

#[test]
fn sigterm_ends_it() -> Result<()> {
    ends_cleanly(|tunnel| tunnel.process().signal(Signal::TERM))
}

#[test]
fn sigint_ends_it() -> Result<()> {
    ends_cleanly(|tunnel| tunnel.process().signal(Signal::INT))
}

#[test]
fn removal_of_its_socket_ends_it() -> Result<()> {
    ends_cleanly(|tunnel| Ok(std::fs::remove_file(tunnel.socket_path())?))
}

#[test]
fn deletion_of_its_interface_ends_it() -> Result<()> {
    ends_cleanly(|tunnel| {
        tunnel.host().ip(["link", "del", tunnel.name()])?;
        Ok(())
    })
}

#[test]
fn deletion_of_its_interface_while_down_ends_it() -> Result<()> {
    ends_cleanly(|tunnel| {
        tunnel.down()?;
        tunnel.host().ip(["link", "del", tunnel.name()])?;
        Ok(())
    })
}

#[test]
fn in_the_background_it_returns_when_ready_and_stays() -> Result<()> {
    let lab = Lab::new("background")?;
    let host = lab.host("h")?;
    for (number, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let name = unique_interface(&format!("bg{number}"));
        let program = nearwire_program()?;
        let words = [program.as_os_str(), "wg".as_ref(), name.as_ref()];
        let started = Background::run(&host, &name, words)?;
        assert_eq!(started.exit_code, 0, "{}", started.output());
        // Ready means ready: no waiting from here on.
        host.run(["wg", "set", &name, "listen-port", "51820"])?;
        host.ip(["link", "set", &name, "up"])?;
        let daemon = started.daemon()?;
        assert!(!daemon.ends_within(Duration::ZERO)?);
        daemon.signal(signal)?;
        assert!(daemon.ends_within(END_WITHIN)?, "{signal:?} does not end it");
        assert_nothing_left(&host, &name)?;
    }
    Ok(())
}

#[test]
fn a_start_in_the_background_that_fails_says_why() -> Result<()> {
    let lab = Lab::new("failing")?;
    let host = lab.host("h")?;
    let name = unique_interface("bg");
    host.ip(["link", "add", &name, "type", "bridge"])?;
    for options in [&[][..], &["-f"][..]] {
        let output = wg(&host, &[options, &[&name]].concat())?;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stderr.contains("exists already"), "{}", output.stderr);
        assert_eq!(sockets(&name), Vec::<String>::new());
    }
    // The one who was there first keeps it.
    assert!(interface_is_there(&host, &name)?);

    let missing = unique_interface("bg");
    let output = wg(&host, &[&missing, "--policy", "/nonexistent/policy"])?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.contains("/nonexistent/policy"), "{}", output.stderr);
    assert_nothing_left(&host, &missing)
}

#[test]
fn names_that_cannot_be_are_refused() -> Result<()> {
    let lab = Lab::new("names")?;
    let host = lab.host("h")?;
    for name in ["", "sixteen_letters_", "a/b", "../x", "a b", ".", "..", "wg%d", "wg:0", "wg\n"] {
        for options in [&["-f"][..], &[][..]] {
            let output = wg(&host, &[options, &["--", name]].concat())?;
            assert_eq!(output.status.code(), Some(1), "{name:?}: {output:?}");
            assert!(output.stderr.contains("cannot name an interface"), "{}", output.stderr);
        }
    }
    // The longest there is.
    let longest = format!("{:0<15}", unique_interface("nw"));
    let program = nearwire_program()?;
    let words = [program.as_os_str(), "wg".as_ref(), longest.as_ref()];
    let started = Background::run(&host, &longest, words)?;
    assert_eq!(started.exit_code, 0, "{}", started.output());
    Ok(())
}

#[test]
fn a_killed_daemon_leaves_nothing_that_stops_the_next() -> Result<()> {
    let lab = Lab::new("killed")?;
    let host = lab.host("h")?;
    let name = unique_interface("nw");
    let program = nearwire_program()?;
    let words = [program.as_os_str(), "wg".as_ref(), name.as_ref()];
    let first = Background::run(&host, &name, words)?;
    let daemon = first.daemon()?;
    daemon.signal(Signal::KILL)?;
    assert!(daemon.ends_within(END_WITHIN)?);
    assert_eq!(sockets(&name).len(), 2, "a killed process cleans nothing");
    let second = Background::run(&host, &name, words)?;
    assert_eq!(second.exit_code, 0, "{}", second.output());
    host.run(["wg", "show", &name])?;
    Ok(())
}

#[test]
fn down_and_up_again_traffic_resumes() -> Result<()> {
    let lab = Lab::new("cycle")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = both(&hosts)?;
    Pairing::over_v4().connect(&a, &b)?;
    ping(&hosts[0], INNER_B[0])?;
    for _ in 0..CYCLES {
        a.down()?;
        // Down, the port is closed: another may have it.
        let port = a.port();
        wait_until(SOON, "the port is free while the interface is down", || {
            let bound = hosts[0].enter(|| std::net::UdpSocket::bind(("0.0.0.0", port)));
            bound.is_ok_and(|socket| socket.is_ok())
        });
        std::thread::sleep(INITIATION_INTERVAL);
        a.up()?;
        // The very first packet: it comes before the daemon has heard that the interface is up.
        ping(&hosts[0], INNER_B[0])?;
        assert_eq!(a.show()?.listen_port, port);
    }
    // The end that stayed up finds its way back too.
    b.down()?;
    std::thread::sleep(INITIATION_INTERVAL);
    b.up()?;
    ping(&hosts[1], INNER_A[0])
}

#[test]
fn down_and_up_in_one_breath_keeps_the_port() -> Result<()> {
    let lab = Lab::new("breath")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = both(&hosts)?;
    Pairing::over_v4().connect(&a, &b)?;
    ping(&hosts[0], INNER_B[0])?;
    let port = a.port();
    for _ in 0..10 {
        // It hears of both at once: the port is to be opened before its shards have closed it.
        a.process().signal(Signal::STOP)?;
        a.down()?;
        a.up()?;
        std::thread::sleep(INITIATION_INTERVAL);
        a.process().signal(Signal::CONT)?;
        // What is sent before it has heard of going down is of a session that ends.
        wait_until(SOON, "traffic", || ping(&hosts[0], INNER_B[0]).is_ok());
        assert_eq!(a.show()?.listen_port, port);
    }
    Ok(())
}

#[test]
fn packets_sent_before_it_hears_of_coming_up_are_not_lost() -> Result<()> {
    let lab = Lab::new("early")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = both(&hosts)?;
    Pairing::over_v4().connect(&a, &b)?;
    let receiver = udp_socket(&hosts[1], format!("{}:0", INNER_B[0]).parse()?)?;
    // Less than the five seconds after which a lost initiation would be sent again.
    receiver.set_read_timeout(Some(Duration::from_secs(3)))?;
    let sender = udp_socket(&hosts[0], format!("{}:0", INNER_A[0]).parse()?)?;
    for number in 0..5u8 {
        a.down()?;
        std::thread::sleep(INITIATION_INTERVAL);
        a.process().signal(Signal::STOP)?;
        a.up()?;
        sender.send_to(&[number], receiver.local_addr()?)?;
        a.process().signal(Signal::CONT)?;
        let mut datagram = [0];
        receiver.recv(&mut datagram)?;
        assert_eq!(datagram, [number]);
    }
    Ok(())
}

#[test]
fn coming_up_greets_peers_that_are_kept_alive() -> Result<()> {
    let lab = Lab::new("greet")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = both(&hosts)?;
    // A day apart: what greets is the coming up.
    Pairing { keepalive_a: 65535, endpoint_a: None, ..Pairing::over_v4() }.connect(&a, &b)?;
    b.wait_for_peer(&a, SOON, "greeted", |peer| peer.latest_handshake > 0)?;
    a.down()?;
    b.remove_peer(&a)?;
    let settings = PeerSettings { allowed_ips: "10.9.0.1/32", ..PeerSettings::default() };
    b.add_peer(&a, &settings)?;
    a.up()?;
    let peer = b.wait_for_peer(&a, SOON, "greeted again", |peer| peer.latest_handshake > 0)?;
    let from = peer.endpoint.map(|endpoint| endpoint.ip().to_string());
    ensure!(from.as_deref() == Some(OUTER_A[0]), "{from:?} greeted {}", OUTER_B[0]);
    Ok(())
}
