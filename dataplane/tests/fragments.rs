//! Fragmented datagrams, and what hides behind them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use dataplane::Direction::{In, Out};
use dataplane::DropReason::{
    PolicyExtensionHeaders, PolicyFragment, PolicyNoRule, PolicyOverlappingFragment,
    PolicyTinyFragment,
};
use support::{
    HOST, HOST6, PEER, PEER6, SYN, TCP, UDP, compiled, extended, fragment, ip, load,
    outcome::Outcome::{Dropped, Flow, Rule},
    outcome::expect,
    ports, tcp, udp,
};

const RULES: &str = r#"
    { "action": "accept", "src": ["10.0.0.7", "fd00::/64"], "dst": ["10.0.0.2:22", "[fd00::2]:22"] },
    { "action": "accept", "src": ["10.0.0.2"], "dst": ["10.0.0.7:53"], "proto": "udp" }
"#;

fn fragment6(offset: u8, id: u8) -> (u8, [u8; 8]) {
    (44, [0, 0, 0, offset, 0, 0, 0, id])
}

#[test]
fn later_fragments_follow_the_first() {
    let first = |port| udp(PEER, HOST, (40_000, port));
    let later = || ip(PEER, HOST, UDP, &[0xaa; 24]);
    let asked = || udp(HOST, PEER, (40_000, 53));
    let asked_later = || ip(HOST, PEER, UDP, &[0xaa; 24]);
    expect(
        &load(&compiled(RULES)),
        &[
            ("later, alone", In, fragment(later(), 1, 3, false), Dropped(PolicyFragment)),
            ("first, not allowed", In, fragment(first(61), 1, 0, true), Dropped(PolicyNoRule)),
            ("later of that", In, fragment(later(), 1, 3, false), Dropped(PolicyFragment)),
            ("first", In, fragment(first(22), 2, 0, true), Rule(0)),
            ("later", In, fragment(later(), 2, 3, true), Flow),
            ("last", In, fragment(later(), 2, 6, false), Flow),
            ("another datagram's", In, fragment(later(), 3, 3, false), Dropped(PolicyFragment)),
            (
                "the host's, alone",
                Out,
                fragment(asked_later(), 2, 3, true),
                Dropped(PolicyFragment),
            ),
            ("the host's first", Out, fragment(asked(), 9, 0, true), Rule(1)),
            ("the host's later", Out, fragment(asked_later(), 9, 3, false), Flow),
        ],
    );
}

#[test]
fn fragments_of_ipv6() {
    let syn6 = |port| tcp(PEER6, HOST6, (40_001, port), SYN);
    let whole = |headers: &[_]| extended(&syn6(22), headers);
    let options = (60, [0; 8]);
    // The header right behind IPv6's own names what follows.
    let other_name = |mut packet: Vec<u8>| {
        packet[40] = UDP;
        packet
    };
    expect(
        &load(&compiled(RULES)),
        &[
            ("whole in one", In, whole(&[fragment6(0, 1)]), Rule(0)),
            ("later of that", In, whole(&[fragment6(16, 1)]), Dropped(PolicyFragment)),
            ("first", In, whole(&[fragment6(1, 2)]), Flow),
            ("later", In, whole(&[fragment6(16, 2)]), Flow),
            (
                "later, onto the flags",
                In,
                whole(&[fragment6(8, 2)]),
                Dropped(PolicyOverlappingFragment),
            ),
            (
                "a part of a part",
                In,
                whole(&[fragment6(1, 3), fragment6(1, 4)]),
                Dropped(PolicyFragment),
            ),
            (
                "a later part of a part",
                In,
                whole(&[fragment6(1, 2), fragment6(16, 2)]),
                Dropped(PolicyFragment),
            ),
            ("whole in one, twice", In, whole(&[fragment6(0, 1), fragment6(0, 1)]), Flow),
            (
                "ports behind a later part's header",
                In,
                whole(&[options, fragment6(16, 5)]),
                Dropped(PolicyFragment),
            ),
            // Its ports lie where a later part, at offset one, could put others.
            (
                "headers behind a first part's",
                In,
                whole(&[fragment6(1, 6), options]),
                Dropped(PolicyExtensionHeaders),
            ),
            (
                "headers behind a later part's",
                In,
                whole(&[fragment6(8, 2), options]),
                Dropped(PolicyExtensionHeaders),
            ),
            (
                "onto the flags, by another name",
                In,
                other_name(whole(&[fragment6(8, 2)])),
                Dropped(PolicyOverlappingFragment),
            ),
            ("headers behind a whole one's", In, whole(&[fragment6(0, 7), options]), Flow),
        ],
    );
}

#[test]
fn tiny_and_overlapping_fragments() {
    let syn = tcp(PEER, HOST, (40_000, 22), SYN);
    let short =
        |length: usize| fragment(ip(PEER, HOST, TCP, &ports(40_000, 22)[..length]), 7, 0, true);
    // Eight bytes by its own account, which is what the host goes by.
    let mut padded = fragment(syn.clone(), 7, 0, true);
    padded[2..4].copy_from_slice(&28u16.to_be_bytes());
    let mut padded6 = extended(&tcp(PEER6, HOST6, (40_000, 22), SYN), &[fragment6(1, 1)]);
    padded6[4..6].copy_from_slice(&16u16.to_be_bytes());
    let onto = |offset| fragment(ip(PEER, HOST, TCP, &[SYN; 24]), 8, offset, true);
    expect(
        &load(&compiled(RULES)),
        &[
            ("ports alone", In, short(8), Dropped(PolicyTinyFragment)),
            ("nothing", In, short(0), Dropped(PolicyTinyFragment)),
            ("padded", In, padded, Dropped(PolicyTinyFragment)),
            ("padded, IPv6", In, padded6, Dropped(PolicyTinyFragment)),
            ("as short as may be", In, fragment(syn, 8, 0, true), Rule(0)),
            ("onto the flags", In, onto(1), Dropped(PolicyOverlappingFragment)),
            ("behind the flags", In, onto(2), Flow),
        ],
    );
}
