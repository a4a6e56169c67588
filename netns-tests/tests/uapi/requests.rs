//! The configuration socket, spoken to by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use netns_tests::Lab;
use netns_tests::wireguard::{Implementation, KeyPair, Tunnel, nearwire_program};

use crate::hex;

const SOON: Duration = Duration::from_secs(10);

fn connect(tunnel: &Tunnel<'_>) -> Result<UnixStream> {
    let stream = UnixStream::connect(tunnel.socket_path())?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

/// Reads one answer, up to its empty line.
fn answer(reader: &mut impl BufRead) -> Result<String> {
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        ensure!(reader.read_line(&mut text)? > 0, "the answer ended: {text:?}");
    }
    Ok(text)
}

#[test]
fn a_bad_request_is_refused_and_changes_nothing() -> Result<()> {
    let lab = Lab::new("garbage")?;
    let host = lab.host("h")?;
    let tunnel = Tunnel::start(&host, Implementation::Nearwire)?;
    let peer = KeyPair::generate()?.public;
    tunnel.configure(&["10.9.0.1/24"])?;
    tunnel.set(["peer", &peer, "allowed-ips", "10.9.0.2/32", "endpoint", "192.0.2.1:7"])?;
    let before = tunnel.show()?;

    let other = hex(&KeyPair::generate()?.public);
    let on_peer = |line: &str| format!("set=1\npublic_key={}\n{line}", hex(&peer));
    let mut bad = vec![
        "get=2".to_owned(),
        "get".to_owned(),
        "put=1".to_owned(),
        "get=1\nset=1".to_owned(),
        "errno=0".to_owned(),
        "\0\0\0\0".to_owned(),
        "set=1\nno equals sign".to_owned(),
        "set=1\nunknown=1".to_owned(),
        // A peer's line without a peer.
        "set=1\nallowed_ip=10.0.0.0/8".to_owned(),
        "set=1\nremove=true".to_owned(),
        format!("set=1\nprivate_key={}", &other[1..]),
        format!("set=1\nprivate_key={}x", &other[1..]),
        format!("set=1\nprivate_key={other}0"),
        format!("set=1\npublic_key={}", &other[2..]),
        // Good lines before the bad one, which must not take effect.
        format!("set=1\nreplace_peers=true\nprivate_key={other}\npublic_key={other}\nendpoint=x"),
        format!("set=1\npublic_key={other}\nallowed_ip=10.9.0.2/32\nallowed_ip=10.0.0.0/33"),
    ];
    for line in ["-1", "65536", "x", "", "1 "] {
        bad.push(format!("set=1\nlisten_port={line}"));
    }
    for line in ["4294967296", "-1", "0x", "0x1ffffffff", "zz"] {
        bad.push(format!("set=1\nfwmark={line}"));
    }
    for line in [
        "replace_peers=true",
        "replace_allowed_ips=false",
        "remove=yes",
        "update_only=1",
        "protocol_version=2",
        "persistent_keepalive_interval=65536",
        "persistent_keepalive_interval=off",
        "preshared_key=00",
        "endpoint=10.0.0.1",
        "endpoint=10.0.0.1:0x5",
        "endpoint=example.com:51820",
        "endpoint=[fd00::1]",
        "endpoint=[fe80::1%nosuchdevice]:7",
        "allowed_ip=10.0.0.256/32",
        "allowed_ip=fd00::/129",
        "allowed_ip=10.0.0.0/-1",
        "allowed_ip=",
        "allowed_ip=--10.0.0.0/8",
        "private_key=00",
    ] {
        bad.push(on_peer(line));
    }
    for request in bad {
        assert_eq!(tunnel.request(&request)?, "errno=-22\n\n", "{request:?}");
        assert_eq!(tunnel.show()?, before, "{request:?}");
    }
    Ok(())
}

#[test]
fn bytes_that_are_no_text_end_the_connection_alone() -> Result<()> {
    let lab = Lab::new("binary")?;
    let host = lab.host("h")?;
    let tunnel = Tunnel::start(&host, Implementation::Nearwire)?;
    let mut stream = connect(&tunnel)?;
    stream.write_all(b"set=1\n\xff\xfe\xfd\n\n")?;
    let mut rest = Vec::new();
    // An answer or none: but an end.
    stream.read_to_end(&mut rest).ok();
    assert!(rest.is_empty() || rest == b"errno=-22\n\n", "{rest:?}");
    assert_eq!(tunnel.request("get=1")?, "errno=0\n\n");
    Ok(())
}

#[test]
fn one_connection_carries_any_number_of_requests() -> Result<()> {
    let lab = Lab::new("many")?;
    let host = lab.host("h")?;
    let tunnel = Tunnel::start(&host, Implementation::Nearwire)?;
    let mut stream = connect(&tunnel)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    for mark in 1..=100 {
        stream.write_all(format!("set=1\nfwmark={mark}\n\n").as_bytes())?;
        assert_eq!(answer(&mut reader)?, "errno=0\n\n");
        // After one that was refused, too.
        stream.write_all(b"set=1\nfwmark=x\n\n")?;
        assert_eq!(answer(&mut reader)?, "errno=-22\n\n");
        stream.write_all(b"get=1\n\n")?;
        assert_eq!(answer(&mut reader)?, format!("fwmark={mark}\nerrno=0\n\n"));
    }
    // Sent ahead in one piece, answered in order.
    stream.write_all(b"set=1\nfwmark=7\n\nget=1\n\nset=1\nfwmark=0\n\nget=1\n\n")?;
    let answers = [(); 4].map(|()| answer(&mut reader));
    let expected = ["errno=0\n\n", "fwmark=7\nerrno=0\n\n", "errno=0\n\n", "errno=0\n\n"];
    for (answer, expected) in answers.into_iter().zip(expected) {
        assert_eq!(answer?, expected);
    }
    Ok(())
}

#[test]
fn a_client_that_stalls_or_floods_blocks_no_other() -> Result<()> {
    let lab = Lab::new("stall")?;
    let host = lab.host("h")?;
    let tunnel = Tunnel::start(&host, Implementation::Nearwire)?;
    let mut stalled = Vec::new();
    for beginning in ["", "g", "get=1\n", "set=1\nfwmark=5\n", "set=1\nlisten_port="] {
        for _ in 0..20 {
            let mut stream = connect(&tunnel)?;
            stream.write_all(beginning.as_bytes())?;
            stalled.push(stream);
        }
    }
    // Asks and never reads.
    let mut deaf = connect(&tunnel)?;
    deaf.set_nonblocking(true)?;
    while deaf.write_all(b"get=1\n\n").is_ok() {}
    assert_eq!(tunnel.request("get=1")?, "errno=0\n\n");

    // 40 MB without an end, while another is served.
    let mut flood = connect(&tunnel)?;
    let writer = std::thread::spawn(move || {
        let line = format!("{}\n", "x".repeat((1 << 20) - 1));
        flood.write_all(b"set=1\n").ok();
        // Refused before its end: the rest need not be taken.
        (0..40).take_while(|_| flood.write_all(line.as_bytes()).is_ok()).count();
        let mut first = [0; 8];
        flood.read_exact(&mut first).map(|()| first)
    });
    for _ in 0..50 {
        assert_eq!(tunnel.request("get=1")?, "errno=0\n\n");
    }
    if let Ok(first) = writer.join().expect("the flood") {
        assert_eq!(&first[..7], b"errno=-", "an endless request was accepted");
    }
    // Unfinished is not done, however it ends.
    drop(stalled);
    assert_eq!(tunnel.request("get=1")?, "errno=0\n\n");
    Ok(())
}

#[test]
fn clients_at_the_same_time_each_get_their_answer() -> Result<()> {
    let lab = Lab::new("clients")?;
    let host = lab.host("h")?;
    let tunnel = Tunnel::start(&host, Implementation::Nearwire)?;
    std::thread::scope(|scope| {
        let client = |number: u8| {
            let tunnel = &tunnel;
            scope.spawn(move || -> Result<()> {
                for round in 0..50u8 {
                    let key = format!("{number:02x}{round:02x}{}", "11".repeat(30));
                    let network = format!("10.{number}.{round}.0/24");
                    let set = format!("set=1\npublic_key={key}\nallowed_ip={network}");
                    assert_eq!(tunnel.request(&set)?, "errno=0\n\n");
                    let shown = tunnel.request("get=1")?;
                    assert!(shown.contains(&format!("public_key={key}\n")), "{shown}");
                    assert!(shown.ends_with("\nerrno=0\n\n"), "{shown}");
                }
                Ok(())
            })
        };
        let clients: Vec<_> = (0..8).map(client).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client"))
    })?;
    assert_eq!(tunnel.show()?.peers.len(), 8 * 50);
    Ok(())
}

#[test]
fn ten_thousand_peers_are_set_and_shown() -> Result<()> {
    let lab = Lab::new("crowd")?;
    let host = lab.host("h")?;
    let tunnel = Tunnel::start(&host, Implementation::Nearwire)?;
    let mut request = String::from("set=1\nreplace_peers=true\n");
    for number in 0..10_000u32 {
        let [_, high, mid, low] = number.to_be_bytes();
        request +=
            &format!("public_key={:064x}\nallowed_ip=10.{high}.{mid}.{low}/32\n", number + 1);
    }
    assert_eq!(tunnel.request(&request)?, "errno=0\n\n");
    assert_eq!(tunnel.show()?.peers.len(), 10_000);
    Ok(())
}

#[test]
fn the_socket_is_for_root_alone_and_for_one_daemon() -> Result<()> {
    let lab = Lab::new("lock")?;
    let (host, elsewhere) = (lab.host("h")?, lab.host("elsewhere")?);
    let tunnel = Tunnel::start(&host, Implementation::Nearwire)?;
    let mode = std::fs::metadata(tunnel.socket_path())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");

    // Where the interface would not collide either: the socket's name is what counts.
    for host in [&host, &elsewhere] {
        let program = nearwire_program()?;
        let second = host.spawn([
            program.as_os_str(),
            "wg".as_ref(),
            "-f".as_ref(),
            tunnel.name().as_ref(),
        ])?;
        let output = second.wait(SOON)?;
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stderr.contains("is in use"), "{}", output.stderr);
    }
    assert_eq!(tunnel.request("get=1")?, "errno=0\n\n");
    Ok(())
}
