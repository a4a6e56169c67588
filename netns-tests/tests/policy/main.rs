//! The policy, enforced by the kernel on a real tunnel.

mod attacks;
mod flows;
mod kinds;
mod lasting;
mod packets;
mod scene;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use dataplane_common::DropReason;
use netns_tests::wireguard::{Implementation, Tunnel};
use netns_tests::{Pinger, ping_sized, wait_until};
use packets::{fd09, tcp, udp, v4, v6};
use scene::{
    BRIEFLY, POLICY, PolicyFile, SOON, Scene, allowed, dropped, listen, nearwire, reach, status,
};

#[test]
fn what_the_rules_allow_passes_and_nothing_else() -> Result<()> {
    let scene = Scene::new("rules")?;
    let policy = PolicyFile::new("rules", POLICY)?;
    let (_client, server) = scene.tunnels(&policy)?;
    for (ping, to) in [("-4", "10.9.0.2"), ("-6", "fd09::2")] {
        scene.client.run(["ping", ping, "-c", "2", "-i", "0.2", to])?;
        // In three parts, of which the later follow the first.
        ping_sized(&scene.client, to, 3000)?;
    }
    let mut listeners = Vec::new();
    for port in [80, 81, 8000, 8999, 9000] {
        for host in ["10.9.0.2", "[fd09::2]"] {
            listeners.push(listen(&scene.server, &format!("{host}:{port}"))?);
            let reached = reach(&scene.client, &format!("{host}:{port}"));
            assert_eq!(reached, [80, 8000, 8999].contains(&port), "{host}:{port}");
        }
    }
    assert!(dropped(&server, DropReason::PolicyNoRule) >= 4);
    let counted: Vec<_> = (0..4).map(|rule| allowed(&server, rule)).collect();
    // Each connection's first packet asks the rules, the others know the flow.
    assert_eq!((counted[0] > 0, counted[1], counted[2] > 0, counted[3] > 0), (true, 0, true, true));

    let udp = |port: u16| -> Result<bool> {
        let to = SocketAddr::from(([10, 9, 0, 2], port));
        let receiver = scene.server.enter(|| UdpSocket::bind(to))??;
        receiver.set_read_timeout(Some(BRIEFLY))?;
        let sender = scene.client.enter(|| UdpSocket::bind("10.9.0.1:0"))??;
        sender.send_to(b"question", to)?;
        let mut buffer = [0; 16];
        let Ok((_, from)) = receiver.recv_from(&mut buffer) else { return Ok(false) };
        receiver.send_to(b"answer", from)?;
        sender.set_read_timeout(Some(BRIEFLY))?;
        Ok(sender.recv(&mut buffer).is_ok())
    };
    assert!(udp(53)? && !udp(54)?);
    Ok(())
}

/// The server may ask the client anything, and nobody may open anything to the server.
const SERVER_MAY_ASK: &str = r#"{ "acls": [
  { "action": "accept", "src": ["10.9.0.2", "fd09::2"], "dst": ["10.9.0.1:*", "[fd09::1]:*"] },
] }"#;

#[test]
fn answers_to_what_the_host_asked_pass() -> Result<()> {
    let scene = Scene::new("answers")?;
    let policy = PolicyFile::new("answers", SERVER_MAY_ASK)?;
    let (client, server) = scene.tunnels(&policy)?;
    // The server cannot be reached, so it must learn where the client is by a handshake alone.
    client.set(["peer", server.public_key(), "persistent-keepalive", "1"])?;
    server.wait_for_peer(&client, SOON, "a handshake", |peer| peer.latest_handshake > 0)?;

    let _listener = listen(&scene.client, "10.9.0.1:81")?;
    let _other = listen(&scene.server, "10.9.0.2:81")?;
    assert!(reach(&scene.server, "10.9.0.1:81"));
    assert!(!reach(&scene.client, "10.9.0.2:81"));
    scene.server.run(["ping", "-c", "1", "10.9.0.1"])?;
    scene.server.run(["ping", "-c", "1", "fd09::1"])?;
    assert!(status(&server)?["flow_hits"].as_u64() > Some(0));
    // What merely looks like an answer is none.
    let mut looks_like = udp(12345);
    looks_like[..2].copy_from_slice(&81u16.to_be_bytes());
    let before = dropped(&server, DropReason::PolicyNoRule);
    scene.client.send_raw(client.name(), &v4(17, 0, &looks_like))?;
    wait_until(SOON, "a drop", || dropped(&server, DropReason::PolicyNoRule) > before);
    Ok(())
}

#[test]
fn every_reason_of_the_policy() -> Result<()> {
    let scene = Scene::new("reasons")?;
    let policy = PolicyFile::new("reasons", POLICY)?;
    let (client, server) = scene.tunnels(&policy)?;
    scene.client.run(["ping", "-c", "1", "10.9.0.2"])?;

    let mut mapped = [0; 16];
    mapped[10..12].fill(0xff);
    mapped[12..].copy_from_slice(&packets::CLIENT);
    // Eight bytes each: next header, length in eights less one, then padding.
    let chain: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(40);
    let cases = [
        (DropReason::PolicyNoRule, v4(17, 0, &udp(54))),
        (DropReason::PolicyTruncated, v4(17, 0, &[1, 2, 3])),
        (DropReason::PolicyFragment, v4(17, 100, &udp(53))),
        (DropReason::PolicyExtensionHeaders, v6(fd09(1), 60, &chain)),
        (DropReason::PolicyMappedAddress, v6(mapped, 17, &udp(53))),
        (DropReason::PolicyDenied, v4(6, 0, &tcp(8666, 0x02))),
        (DropReason::PolicyNoSyn, v4(6, 0, &tcp(80, 0x10))),
        (DropReason::PolicyTinyFragment, v4(6, 0x2000, &tcp(80, 0x02)[..8])),
        (DropReason::PolicyOverlappingFragment, v4(6, 1, &[0; 16])),
        (
            DropReason::PolicyUnrelatedError,
            v4(1, 0, &[&[3, 4, 0, 0, 0, 0, 5, 0], &v4(17, 0, &udp(9))[..]].concat()),
        ),
    ];
    for (reason, packet) in &cases {
        let before = dropped(&server, *reason);
        scene.client.send_raw(client.name(), packet)?;
        wait_until(SOON, reason.label(), || dropped(&server, *reason) > before);
    }
    // What is no IP packet the tunnel itself refuses (InnerNotIp), and the kernel's own TUN too:
    // that the program refuses it as well is shown by the test runs of `dataplane`.
    let missing: Vec<_> = DropReason::ALL
        .into_iter()
        .filter(|reason| reason.label().starts_with("policy_"))
        .filter(|reason| *reason != DropReason::PolicyNotIp)
        // In `a_change_takes_effect_at_once_on_live_flows`.
        .filter(|reason| *reason != DropReason::PolicyRevoked)
        .filter(|reason| !cases.iter().any(|(provoked, _)| provoked == reason))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    Ok(())
}

#[test]
fn a_change_takes_effect_at_once_on_live_flows() -> Result<()> {
    let scene = Scene::new("change")?;
    let policy = PolicyFile::new("change", POLICY)?;
    let (_client, server) = scene.tunnels(&policy)?;
    let listener = listen(&scene.server, "10.9.0.2:80")?;
    let address = listener.local_addr()?;
    let mut live = scene.client.enter(|| TcpStream::connect_timeout(&address, SOON))??;
    let (mut accepted, _) = listener.accept()?;
    accepted.set_read_timeout(Some(BRIEFLY))?;
    live.set_nodelay(true)?;
    let mut passes = |byte: u8| -> Result<bool> {
        use std::io::{Read as _, Write as _};
        live.write_all(&[byte])?;
        let mut buffer = [0; 64];
        Ok(accepted.read(&mut buffer).is_ok_and(|len| buffer[..len].contains(&byte)))
    };
    assert!(passes(1)?);

    // Another grant, the same flow: nothing is cut.
    policy.write(&POLICY.replace("*:53", "*:53,54"))?;
    let applied = nearwire(&scene.server, &["policy", "apply", server.name(), policy.path()])?;
    assert!(applied.status.success(), "{}", applied.stderr);
    assert!(applied.stdout.contains("generation 2"), "{}", applied.stdout);
    assert!(passes(2)?);

    // The grant is gone: so is the flow, although it is live. By signal, as an editor would.
    policy.write(&POLICY.replace("*:80,", "*:"))?;
    server.process().signal(rustix::process::Signal::HUP)?;
    wait_until(SOON, "generation 3", || {
        status(&server).is_ok_and(|status| status["generation"] == 3)
    });
    assert!(!passes(3)?);
    assert!(dropped(&server, DropReason::PolicyRevoked) > 0);
    Ok(())
}

#[test]
fn a_change_cuts_datagrams_and_echoes_both_ways_and_nothing_else() -> Result<()> {
    let scene = Scene::new("cut")?;
    let policy = PolicyFile::new("cut", POLICY)?;
    let (_client, server) = scene.tunnels(&policy)?;
    let names = scene.server.enter(|| UdpSocket::bind("10.9.0.2:53"))??;
    let asker = scene.client.enter(|| UdpSocket::bind("10.9.0.1:0"))??;
    for socket in [&names, &asker] {
        socket.set_read_timeout(Some(BRIEFLY))?;
    }
    let to = |from: &UdpSocket, other: &UdpSocket| -> Result<bool> {
        // What may not leave the host may be refused at once.
        let _ = from.send_to(b"datagram", other.local_addr()?);
        Ok(other.recv(&mut [0; 16]).is_ok())
    };
    assert!(to(&asker, &names)? && to(&names, &asker)?);
    let every = Duration::from_millis(10);
    let echoes = Pinger::start(&scene.client, "10.9.0.2", every)?;
    let others = Pinger::start(&scene.client, "fd09::2", every)?;
    for pinger in [&echoes, &others] {
        pinger.wait_for_more(20, SOON)?;
    }

    policy.write(&POLICY.replace("*:53", "*:54").replace("10.9.0.2:*", "10.9.0.8:*"))?;
    let applied = nearwire(&scene.server, &["policy", "apply", server.name(), policy.path()])?;
    assert!(applied.status.success(), "{}", applied.stderr);
    let answered = echoes.answered();
    others.wait_for_more(50, SOON)?;
    // One may have been on its way back when the change came about.
    assert!(echoes.answered() <= answered + 1, "echoes go on");
    assert!(!to(&asker, &names)?, "the peer's datagrams go on");
    assert!(!to(&names, &asker)?, "the host's datagrams go on");
    assert_eq!(others.finish()?.lost(), 0);
    Ok(())
}

#[test]
fn a_document_with_errors_changes_nothing() -> Result<()> {
    let scene = Scene::new("errors")?;
    let policy = PolicyFile::new("errors", POLICY)?;
    let (_client, server) = scene.tunnels(&policy)?;
    let before = status(&server)?["rules"].clone();

    let bad = "{ \"acls\": [\n  { \"action\": \"accept\", \"src\": [\"10.9.0.300\"], \
               \"dst\": [\"*:99999\"] },\n], \"ssh\": [] }";
    policy.write(bad)?;
    for command in ["apply", "check"] {
        let mut words = vec!["policy", command];
        words.extend((command == "apply").then_some(server.name()));
        words.push(policy.path());
        let refused = nearwire(&scene.server, &words)?;
        assert_eq!(refused.status.code(), Some(1), "{command}");
        // Every error, each with its line and column.
        for place in [":2:34:", ":2:59:", ":3:4:"] {
            let text = format!("{}{place}", policy.path());
            assert!(refused.stderr.contains(&text), "{command} {place}: {}", refused.stderr);
        }
    }
    server.process().signal(rustix::process::Signal::HUP)?;
    server.process().wait_for_line("policy not reloaded", SOON)?;
    assert_eq!(status(&server)?["generation"], 1);
    assert_eq!(status(&server)?["rules"], before);
    scene.client.run(["ping", "-c", "1", "10.9.0.2"])?;

    // And nothing starts with it.
    let name = netns_tests::wireguard::unique_interface("nw");
    let refused = nearwire(&scene.server, &["wg", &name, "--policy", policy.path()])?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains(":2:34:"), "{}", refused.stderr);
    assert!(!scene.server.output(["ip", "link", "show", &name])?.status.success());
    Ok(())
}

#[test]
fn a_document_too_large_for_the_tables_changes_nothing() -> Result<()> {
    use std::fmt::Write as _;
    let scene = Scene::new("large")?;
    let policy = PolicyFile::new("large", POLICY)?;
    let (_client, server) = scene.tunnels(&policy)?;
    let pinger = Pinger::start(&scene.client, "10.9.0.2", Duration::from_millis(10))?;
    pinger.wait_for_more(20, SOON)?;
    // Everybody to everybody, beside so many single hosts, each of whom the tables tell apart.
    let mut large = String::from("{ \"acls\": [\n");
    large.push_str("{ \"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:*\"] },\n");
    for host in 0..1100 {
        let (a, b) = (host / 200, host % 200);
        writeln!(
            large,
            "{{ \"action\": \"accept\", \"src\": [\"10.1.{a}.{b}\"], \"dst\": [\"10.2.{a}.{b}:80\"] }},"
        )?;
    }
    policy.write(&(large + "] }"))?;
    let refused = nearwire(&scene.server, &["policy", "apply", server.name(), policy.path()])?;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
    // The limit, and the rule that is to blame.
    for said in ["1048576", "rule 0"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    assert_eq!(status(&server)?["generation"], 1);
    pinger.wait_for_more(20, SOON)?;
    assert_eq!(pinger.finish()?.lost(), 0);
    // And what fits is taken again.
    policy.write(POLICY)?;
    let applied = nearwire(&scene.server, &["policy", "apply", server.name(), policy.path()])?;
    assert!(applied.stdout.contains("generation 2"), "{}", applied.stderr);
    Ok(())
}

#[test]
fn commands_name_what_is_missing() -> Result<()> {
    let scene = Scene::new("missing")?;
    let plain = Tunnel::start(&scene.server, Implementation::Nearwire)?;
    for (words, said) in [
        (["policy", "status", plain.name()].as_slice(), "has no policy"),
        (&["policy", "status", "nosuch0"], "no nearwire serves nosuch0"),
        (&["policy", "check", "/nonexistent"], "cannot read the policy /nonexistent"),
    ] {
        let refused = nearwire(&scene.server, words)?;
        assert_eq!(refused.status.code(), Some(1), "{words:?}");
        assert!(refused.stderr.contains(said), "{words:?}: {}", refused.stderr);
    }
    Ok(())
}
