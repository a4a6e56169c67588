//! What a peer tries that the rules do not give it: each attempt is dropped, for the right reason,
//! and nothing of it arrives.

use std::net::UdpSocket;

use anyhow::Result;
use dataplane_common::DropReason;
use netns_tests::Host;
use netns_tests::wait_until;
use netns_tests::wireguard::{PeerSettings, Tunnel};

use crate::packets::{CLIENT, SERVER, fd09, tcp, udp, v4, v4_from, v6};
use crate::scene::{BRIEFLY, POLICY, PolicyFile, SOON, Scene, dropped, listen};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const MORE: u16 = 0x2000;

/// Sends each packet from one end, and waits until the server has dropped it for the reason.
fn refused(
    from: (&Host, &Tunnel<'_>),
    server: &Tunnel<'_>,
    cases: &[(&str, DropReason, Vec<u8>)],
) -> Result<()> {
    for (name, reason, packet) in cases {
        let before = dropped(server, *reason);
        let sent = from.0.send_raw(from.1.name(), packet);
        // Who enforces the policy himself is told at once (ENOBUFS).
        if from.1.name() != server.name() {
            sent?;
        }
        let what = format!("{name}: {}", reason.label());
        wait_until(SOON, &what, || dropped(server, *reason) > before);
    }
    Ok(())
}

/// A socket at the server that nothing must reach.
fn trap(scene: &Scene, address: &str) -> Result<UdpSocket> {
    let socket = scene.server.enter(|| UdpSocket::bind(address))??;
    socket.set_read_timeout(Some(BRIEFLY))?;
    Ok(socket)
}

fn is_empty(trap: &UdpSocket) -> bool {
    trap.recv(&mut [0; 64]).is_err()
}

#[test]
fn a_spoofed_source_inside_the_tunnel() -> Result<()> {
    let scene = Scene::new("spoof")?;
    let policy = PolicyFile::new("spoof", POLICY)?;
    let (client, server) = scene.tunnels(&policy)?;
    let trap = trap(&scene, "10.9.0.2:53")?;
    let spoofed = |from: [u8; 4]| v4_from(from, 17, 0, &udp(53));
    // The tunnel lets any source pass here, so it is the policy that asks who it is.
    let cases = [
        ("another's address", DropReason::PolicyNoRule, spoofed([10, 9, 0, 9])),
        ("another's, IPv6", DropReason::PolicyNoRule, v6(fd09(9), 17, &udp(53))),
    ];
    refused((&scene.client, &client), &server, &cases)?;
    // As tunnels are: the peer's own address and no other.
    server.set(["peer", client.public_key(), "allowed-ips", "10.9.0.1/32"])?;
    let tunnel = |reason: DropReason| server.dropped(reason.label()).unwrap_or(0);
    let before = tunnel(DropReason::SourceNotAllowed);
    scene.client.send_raw(client.name(), &spoofed([10, 9, 0, 9]))?;
    wait_until(SOON, "source_not_allowed", || tunnel(DropReason::SourceNotAllowed) > before);
    assert!(is_empty(&trap));
    Ok(())
}

#[test]
fn fragments_that_hide_what_they_carry() -> Result<()> {
    let scene = Scene::new("fragments")?;
    let policy = PolicyFile::new("fragments", POLICY)?;
    let (client, server) = scene.tunnels(&policy)?;
    let _web = listen(&scene.server, "10.9.0.2:80")?;
    let traps = [trap(&scene, "10.9.0.2:54")?, trap(&scene, "[fd09::2]:54")?];
    let syn = tcp(80, SYN);
    // IPv6: the second header of the chain is a fragment's, at this offset in eights.
    let v6_fragment = |offset: u8, more: bool, payload: &[u8]| {
        let mut bytes = vec![17, 0, 0, (offset << 3) | u8::from(more), 0, 0, 0, 9];
        bytes.extend(payload);
        v6(fd09(1), 44, &bytes)
    };
    let cases = [
        // RFC 1858: the flags come in the second fragment, the ports in the first.
        ("tiny first", DropReason::PolicyTinyFragment, v4(6, MORE, &syn[..8])),
        ("flags behind it", DropReason::PolicyOverlappingFragment, v4(6, 1, &syn[8..])),
        // RFC 3128: the second fragment overlaps the flags that were judged.
        ("onto the flags", DropReason::PolicyOverlappingFragment, v4(6, 1 | MORE, &syn[8..16])),
        ("later without a first", DropReason::PolicyFragment, v4(17, 8, &[0; 16])),
        ("first of a forbidden one", DropReason::PolicyNoRule, v4(17, MORE, &udp(54))),
        ("later of a forbidden one", DropReason::PolicyFragment, v4(17, 2, &[0; 16])),
        ("IPv6, later alone", DropReason::PolicyFragment, v6_fragment(4, false, &[0; 16])),
        ("IPv6, first forbidden", DropReason::PolicyNoRule, v6_fragment(0, true, &udp(54))),
        (
            "IPv6, first too short",
            DropReason::PolicyTinyFragment,
            v6_fragment(0, true, &udp(53)[..3]),
        ),
    ];
    refused((&scene.client, &client), &server, &cases)?;
    // Two halves of which the first is allowed, and the second would put other ports in its place.
    scene.client.send_raw(client.name(), &v4(17, MORE, &[&udp(53)[..], &[0; 4]].concat()))?;
    scene.client.send_raw(client.name(), &v4(17, 0, &udp(54)))?;
    assert!(traps.iter().all(is_empty));
    Ok(())
}

#[test]
fn extension_headers_that_hide_a_port() -> Result<()> {
    let scene = Scene::new("hiding")?;
    let policy = PolicyFile::new("hiding", POLICY)?;
    let (client, server) = scene.tunnels(&policy)?;
    let trap = trap(&scene, "[fd09::2]:54")?;
    // Headers of eight bytes: next header, length in eights less one, then a padding option.
    let chain = |headers: &[u8], payload: &[u8]| {
        let mut bytes = Vec::new();
        for next in headers.iter().skip(1).chain([&17]) {
            bytes.extend([*next, 0, 1, 4, 0, 0, 0, 0]);
        }
        bytes.extend(payload);
        v6(fd09(1), headers[0], &bytes)
    };
    let cases = [
        ("behind options", DropReason::PolicyNoRule, chain(&[60], &udp(54))),
        ("behind hop-by-hop, options", DropReason::PolicyNoRule, chain(&[0, 60, 60], &udp(54))),
        ("behind too many", DropReason::PolicyExtensionHeaders, chain(&[60; 9], &udp(53))),
        ("a chain without an end", DropReason::PolicyTruncated, chain(&[60, 60], &[])),
        // RFC 7112: the whole chain must be in the first fragment; here none may follow that header.
        (
            "a fragment of headers alone",
            DropReason::PolicyExtensionHeaders,
            v6(fd09(1), 44, &[60, 0, 0, 1, 0, 0, 0, 3, 17, 0, 1, 4, 0, 0, 0, 0]),
        ),
    ];
    refused((&scene.client, &client), &server, &cases)?;
    assert!(is_empty(&trap));
    Ok(())
}

#[test]
fn forged_icmp_errors() -> Result<()> {
    let scene = Scene::new("errors-forged")?;
    let policy = PolicyFile::new("errors-forged", POLICY)?;
    let (client, server) = scene.tunnels(&policy)?;
    scene.client.run(["ping", "-c", "1", "10.9.0.2"])?;
    // Port unreachable, fragmentation needed, a redirect: about packets that nobody sent.
    let about = |kind: u8, code: u8, quoted: &[u8]| {
        let mut message = vec![kind, code, 0, 0, 0, 0, 5, 0];
        message.extend(quoted);
        v4(1, 0, &message)
    };
    let never_sent = v4_from(SERVER, 17, 0, &udp(4444));
    let not_ours = v4_from(CLIENT, 17, 0, &udp(53));
    // Of these, one like it was.
    let pong = v4_from(SERVER, 1, 0, &[0, 0, 0, 0, 0, 7, 0, 1]);
    let about6 = |kind: u8, code: u8, quoted: &[u8]| {
        let mut message = vec![kind, code, 0, 0, 0, 0, 5, 0];
        message.extend(quoted);
        v6(fd09(1), 58, &message)
    };
    let never_sent6 = v6(fd09(2), 17, &udp(4444));
    let unrelated = DropReason::PolicyUnrelatedError;
    let cases = [
        ("unreachable", unrelated, about(3, 3, &never_sent)),
        ("too big", unrelated, about(3, 4, &never_sent)),
        ("about the sender's own", unrelated, about(3, 4, &not_ours)),
        ("about half a header", unrelated, about(11, 0, &never_sent[..12])),
        ("a redirect", unrelated, about(5, 1, &pong)),
        ("a quench", unrelated, about(4, 0, &pong)),
        ("unreachable, IPv6", unrelated, about6(1, 4, &never_sent6)),
        ("too big, IPv6", unrelated, about6(2, 0, &never_sent6)),
        ("a redirect, IPv6", unrelated, about6(137, 0, &never_sent6)),
    ];
    refused((&scene.client, &client), &server, &cases)
}

#[test]
fn what_only_looks_like_an_answer() -> Result<()> {
    let scene = Scene::new("unasked")?;
    // Nobody may open anything.
    let policy = PolicyFile::new("unasked", r#"{ "acls": [] }"#)?;
    let (client, server) = scene.tunnels(&policy)?;
    // The tunnel has a session once the client has sent something.
    let from = |port: u16, mut segment: Vec<u8>| {
        segment[..2].copy_from_slice(&port.to_be_bytes());
        segment
    };
    let no_rule = DropReason::PolicyNoRule;
    let cases = [
        ("a DNS answer", no_rule, v4(17, 0, &from(53, udp(40_000)))),
        ("SYN and ACK", no_rule, v4(6, 0, &from(443, tcp(40_000, SYN | ACK)))),
        ("a reset", no_rule, v4(6, 0, &from(443, tcp(40_000, 0x04)))),
        ("a pong", no_rule, v4(1, 0, &[0, 0, 0, 0, 0, 7, 0, 1])),
    ];
    refused((&scene.client, &client), &server, &cases)
}

#[test]
fn tcp_without_a_syn() -> Result<()> {
    let scene = Scene::new("nosyn")?;
    let policy = PolicyFile::new("nosyn", POLICY)?;
    let (client, server) = scene.tunnels(&policy)?;
    let _web = listen(&scene.server, "10.9.0.2:80")?;
    // Port 80 is allowed: what these lack is a connection.
    let cases = [
        ("ACK", DropReason::PolicyNoSyn, v4(6, 0, &tcp(80, ACK))),
        ("FIN", DropReason::PolicyNoSyn, v4(6, 0, &tcp(80, 0x01))),
        ("nothing", DropReason::PolicyNoSyn, v4(6, 0, &tcp(80, 0))),
        ("all at once", DropReason::PolicyNoSyn, v4(6, 0, &tcp(80, 0x3f))),
        ("SYN and ACK", DropReason::PolicyNoSyn, v4(6, 0, &tcp(80, SYN | ACK))),
    ];
    refused((&scene.client, &client), &server, &cases)
}

#[test]
fn what_the_host_may_not_send() -> Result<()> {
    let scene = Scene::new("egress")?;
    // The client may come in; the server may only ask for names.
    let rules = r#"{ "acls": [
      { "action": "accept", "src": ["10.9.0.1"], "dst": ["10.9.0.2:80"] },
      { "action": "accept", "src": ["10.9.0.2"], "dst": ["10.9.0.1:53"], "proto": "udp" },
    ] }"#;
    let policy = PolicyFile::new("egress", rules)?;
    let (client, server) = scene.tunnels(&policy)?;
    let settings = PeerSettings {
        allowed_ips: "0.0.0.0/0,::/0",
        endpoint: Some("10.0.0.1".parse()?),
        ..PeerSettings::default()
    };
    server.add_peer(&client, &settings)?;
    let sockets = [53, 54].map(|port| {
        let socket = scene.client.enter(|| UdpSocket::bind(("10.9.0.1", port)));
        socket.expect("a thread in the namespace").expect("a free port")
    });
    for socket in &sockets {
        socket.set_read_timeout(Some(BRIEFLY))?;
    }
    let sender = scene.server.enter(|| UdpSocket::bind("10.9.0.2:0"))??;
    let before = dropped(&server, DropReason::PolicyNoRule);
    for socket in &sockets {
        // Refused at once or silently: either way nothing arrives.
        let _ = sender.send_to(b"question", socket.local_addr()?);
    }
    let mut buffer = [0; 16];
    let (len, asker) = sockets[0].recv_from(&mut buffer)?;
    assert_eq!(&buffer[..len], b"question");
    assert!(sockets[1].recv(&mut buffer).is_err(), "what no rule allows has left the host");
    assert!(dropped(&server, DropReason::PolicyNoRule) > before);
    // And the answer comes back.
    sockets[0].send_to(b"answer", asker)?;
    sender.set_read_timeout(Some(SOON))?;
    assert_eq!(sender.recv(&mut buffer)?, 6);
    Ok(())
}

#[test]
fn what_the_host_sends_in_disguise() -> Result<()> {
    let scene = Scene::new("disguise")?;
    // The server may ask the client for names and its web.
    let rules = r#"{ "acls": [
      { "action": "accept", "src": ["10.9.0.2"], "dst": ["10.9.0.1:53"], "proto": "udp" },
      { "action": "accept", "src": ["10.9.0.2"], "dst": ["10.9.0.1:80"], "proto": "tcp" },
    ] }"#;
    let policy = PolicyFile::new("disguise", rules)?;
    let (client, server) = scene.tunnels(&policy)?;
    let trap = scene.client.enter(|| UdpSocket::bind("10.9.0.1:54"))??;
    trap.set_read_timeout(Some(BRIEFLY))?;
    // So that it knows where the client is.
    client.set(["peer", server.public_key(), "persistent-keepalive", "1"])?;
    server.wait_for_peer(&client, SOON, "a handshake", |peer| peer.latest_handshake > 0)?;
    let sent = |protocol, fragment, payload: &[u8]| v4_from(SERVER, protocol, fragment, payload);
    let error = [&[3, 4, 0, 0, 0, 0, 5, 0], &v4(17, 0, &udp(4444))[..]].concat();
    // Behind the server and to the client, as if it were a router for others.
    let mut spoofed = sent(17, 0, &udp(53));
    spoofed[15] = 77;
    let cases = [
        ("another's address", DropReason::PolicyNoRule, spoofed),
        ("another port", DropReason::PolicyNoRule, sent(17, 0, &udp(54))),
        ("no SYN", DropReason::PolicyNoSyn, sent(6, 0, &tcp(80, ACK))),
        ("tiny first", DropReason::PolicyTinyFragment, sent(6, MORE, &tcp(80, SYN)[..8])),
        ("onto the flags", DropReason::PolicyOverlappingFragment, sent(6, 1, &[0; 16])),
        ("later without a first", DropReason::PolicyFragment, sent(17, 8, &[0; 16])),
        ("a forged error", DropReason::PolicyUnrelatedError, sent(1, 0, &error)),
        ("half a header", DropReason::PolicyTruncated, sent(17, 0, &[1, 2, 3])),
    ];
    refused((&scene.server, &server), &server, &cases)?;
    assert!(is_empty(&trap));
    Ok(())
}
