//! STUN, answered in the kernel.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod lanes_support;

use dataplane::{Allowance, DropReason, LaneOptions, LaneSwitch, Switched};
use lanes_support::{PORT, Packet, RELAY4, RELAY6, load, options};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const TRANSACTION: [u8; 12] = *b"twelve bytes";
const FINGERPRINT: u16 = 0x8028;
const SOFTWARE: u16 = 0x8022;

/// A message with these attributes.
fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = kind.to_be_bytes().to_vec();
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(COOKIE);
    message.extend(TRANSACTION);
    message.extend(body);
    message
}

/// CRC-32 as in Ethernet, bit by bit, and the constant of RFC 8489.
fn fingerprint(message: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in message {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    (!crc ^ 0x5354_554e).to_be_bytes()
}

/// The message with a right fingerprint at its end.
fn fingerprinted(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut all = attributes.to_vec();
    all.push((FINGERPRINT, &[0; 4]));
    let mut message = message(kind, &all);
    let covered = message.len() - 8;
    let crc = fingerprint(&message[..covered]);
    message[covered + 4..].copy_from_slice(&crc);
    message
}

fn asked(host: &str, payload: &[u8]) -> Packet {
    let relay = if host.starts_with('[') { format!("[{RELAY6}]") } else { RELAY4.to_owned() };
    Packet::new(host, &format!("{relay}:{PORT}"), payload)
}

const HOSTS: [(&str, &[u8]); 2] = [
    ("198.51.100.7:40001", &[1, 0x9c, 0x41, 198, 51, 100, 7]),
    (
        "[2001:db8:ffff::7]:40001",
        &[2, 0x9c, 0x41, 0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
    ),
];

/// What the answer says, unhidden: family, port, address.
fn mapped(attribute: &[u8]) -> Vec<u8> {
    let hide: Vec<u8> = [&COOKIE[..], &TRANSACTION].concat();
    let mut plain = vec![attribute[1], attribute[2] ^ COOKIE[0], attribute[3] ^ COOKIE[1]];
    plain.extend(attribute[4..].iter().zip(hide).map(|(byte, hide)| byte ^ hide));
    plain
}

#[test]
fn a_host_learns_its_address() {
    let switch = load([]);
    for (host, seen) in HOSTS {
        for payload in [message(1, &[]), message(1, &[(SOFTWARE, b"a client of 9")])] {
            let before = switch.totals().unwrap();
            let mut request = asked(host, &payload);
            request.hops = 1;
            let Switched::Back(out) = switch.run(&request.frame()).unwrap() else { panic!() };
            let answer = Packet::read(&out);
            assert!(answer.has_checksum);
            assert_eq!((answer.source, answer.destination), (request.destination, request.source));
            assert_eq!(answer.destination_mac, request.source_mac);
            assert_eq!(answer.source_mac, request.destination_mac);
            assert!(answer.hops >= 64);
            let value = u16::try_from(seen.len() + 1).unwrap();
            assert_eq!(answer.payload[..2], [1, 1]);
            assert_eq!(answer.payload[2..4], (value + 4).to_be_bytes());
            assert_eq!(answer.payload[4..20], [&COOKIE[..], &TRANSACTION].concat());
            assert_eq!(answer.payload[20..22], [0, 0x20]);
            assert_eq!(answer.payload[22..24], value.to_be_bytes());
            assert_eq!(mapped(&answer.payload[24..]), seen);
            let after = switch.totals().unwrap();
            assert_eq!((after.answers, &after.drops), (before.answers + 1, &before.drops));
        }
    }
}

#[test]
fn who_sends_a_fingerprint_gets_one() {
    let switch = load([]);
    for (host, seen) in HOSTS {
        for attributes in [&[][..], &[(SOFTWARE, &b"odd"[..]), (0xc001, &[9; 20])]] {
            let request = asked(host, &fingerprinted(1, attributes));
            let Switched::Back(out) = switch.run(&request.frame()).unwrap() else { panic!() };
            let answer = Packet::read(&out).payload;
            let covered = answer.len() - 8;
            assert_eq!(answer[covered..covered + 4], [0x80, 0x28, 0, 4]);
            assert_eq!(answer[covered + 4..], fingerprint(&answer[..covered]));
            assert_eq!(mapped(&answer[24..covered]), seen);
        }
    }
}

#[test]
fn what_needs_more_than_an_answer_is_left_to_user_space() {
    let switch = load([]);
    let mut wrong = fingerprinted(1, &[]);
    *wrong.last_mut().unwrap() ^= 1;
    let mut longer = message(1, &[]);
    longer[3] = 4;
    let five = [(SOFTWARE, &b"x"[..]); 5];
    let cases = [
        ("a wrong fingerprint", wrong),
        (
            "a fingerprint that is not the last",
            message(1, &[(FINGERPRINT, &[0; 4]), (SOFTWARE, b"x")]),
        ),
        ("a length that is not its own", longer),
        ("a change of port asked for", message(1, &[(0x0003, &[0, 0, 0, 2])])),
        ("credentials", message(1, &[(0x0006, b"user"), (0x0008, &[0; 20])])),
        ("more attributes than any client sends", message(1, &five)),
        ("longer than any client's", message(1, &[(SOFTWARE, &[b'x'; 120])])),
        ("an attribute beyond the end", {
            let mut message = message(1, &[(SOFTWARE, b"four")]);
            message[23] = 200;
            message
        }),
        ("an indication", message(0x0011, &[])),
        ("an answer", message(0x0101, &[])),
        ("an allocation", message(0x0003, &[])),
    ];
    for (host, _) in HOSTS {
        for (name, payload) in &cases {
            let frame = asked(host, payload).frame();
            assert_eq!(switch.run(&frame).unwrap(), Switched::Pass, "{name}");
        }
    }
    assert_eq!(switch.totals().unwrap().answers, 0);
}

#[test]
fn what_is_no_stun_is_dropped() {
    let switch = load([]);
    let mut old = message(1, &[]);
    old[4] = 0;
    for (count, payload) in (1..).zip([old, message(1, &[])[..19].to_vec()]) {
        let frame = asked(HOSTS[0].0, &payload).frame();
        assert_eq!(switch.run(&frame).unwrap(), Switched::Drop);
        assert_eq!(switch.totals().unwrap().dropped(DropReason::LaneMalformed), count);
    }
}

#[test]
fn nobody_is_answered_who_cannot_have_asked() {
    let switch = load([]);
    for host in [
        "127.0.0.1:5",
        "0.1.2.3:5",
        "224.0.0.1:5",
        "255.255.255.255:5",
        "[ff02::1]:5",
        "[::1]:5",
        "198.51.100.7:0",
    ] {
        let frame = asked(host, &message(1, &[])).frame();
        assert_eq!(switch.run(&frame).unwrap(), Switched::Pass, "{host}");
    }
    let mut others = asked(HOSTS[0].0, &message(1, &[]));
    others.destination.set_ip("192.0.2.77".parse().unwrap());
    assert_eq!(switch.run(&others.frame()).unwrap(), Switched::Pass, "another host's server");
    let mut frame = asked(HOSTS[0].0, &message(1, &[])).frame();
    frame[15] ^= 4;
    assert_eq!(switch.run(&frame).unwrap(), Switched::Pass, "a wrong IPv4 checksum");
}

#[test]
fn a_network_gets_its_allowance_and_no_more() {
    let answers = Some(Allowance::new(1, 5));
    let mut switch = LaneSwitch::load(LaneOptions { answers, ..options() }).unwrap();
    switch.set_locals([RELAY4, RELAY6].map(|address| address.parse().unwrap())).unwrap();
    let answered = |host: &str| {
        let frame = asked(host, &message(1, &[])).frame();
        matches!(switch.run(&frame).unwrap(), Switched::Back(_))
    };
    for network in [
        ["198.51.100.1:5", "198.51.100.2:6"],
        ["198.51.101.1:5", "198.51.101.1:6"],
        ["[2001:db8:0:1100::1]:5", "[2001:db8:0:11ff::2]:5"],
        ["[2001:db8:0:1200::1]:5", "[2001:db8:0:1200::2]:5"],
    ] {
        let count = network.iter().cycle().take(20).filter(|host| answered(host)).count();
        // A second may go by meanwhile.
        assert!((5..=6).contains(&count), "{network:?}: {count}");
    }
    let limited = switch.totals().unwrap().dropped(DropReason::StunRate);
    assert!((56..=60).contains(&limited), "{limited}");
}

#[test]
fn without_an_allowance_the_host_is_given_what_they_ask() {
    let mut switch = LaneSwitch::load(LaneOptions { answers: None, ..options() }).unwrap();
    switch.set_locals([RELAY4, RELAY6].map(|address| address.parse().unwrap())).unwrap();
    for (host, _) in HOSTS {
        let frame = asked(host, &message(1, &[])).frame();
        assert_eq!(switch.run(&frame).unwrap(), Switched::Pass, "{host}");
    }
    assert_eq!(switch.totals().unwrap().answers, 0);
}
