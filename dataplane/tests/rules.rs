//! Packets in, action and counters out: rules for what opens a flow, in both directions.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use dataplane::Direction::{In, Out};
use dataplane::DropReason::{
    PolicyDenied, PolicyExtensionHeaders, PolicyMappedAddress, PolicyNoRule, PolicyNotIp,
    PolicyTruncated,
};
use support::{
    HOST, HOST6, ICMP, ICMPV6, PEER, PEER6, SYN, TCP, compiled, extended, icmp, ip, load,
    outcome::Outcome::{Dropped, DroppedBy, Flow, Rule},
    outcome::expect,
    ports, tcp, udp,
};

const SSH_AND_DNS: &str = r#"
    { "action": "accept", "src": ["10.0.0.0/24", "fd00::/64"], "dst": ["10.0.0.2:22", "[fd00::2]:22"],
      "proto": "tcp" },
    { "action": "accept", "src": ["10.0.0.7"], "dst": ["10.0.0.0/24:50-60"], "proto": "udp" }
"#;

#[test]
fn rules_decide_on_what_a_peer_opens() {
    let syn = |from: &str, to: &str, port| tcp(from, to, (40_000, port), SYN);
    let dns = |from: &str, port| udp(from, HOST, (40_000, port));
    expect(
        &load(&compiled(SSH_AND_DNS)),
        &[
            ("ssh", In, syn(PEER, HOST, 22), Rule(0)),
            ("ssh, once more", In, syn(PEER, HOST, 22), Flow),
            ("ssh, IPv6", In, syn(PEER6, HOST6, 22), Rule(0)),
            ("another port", In, syn(PEER, HOST, 23), Dropped(PolicyNoRule)),
            ("another port, IPv6", In, syn(PEER6, HOST6, 23), Dropped(PolicyNoRule)),
            ("another source", In, syn("10.0.1.7", HOST, 22), Dropped(PolicyNoRule)),
            ("another host", In, syn(PEER, "10.0.0.3", 22), Dropped(PolicyNoRule)),
            ("another protocol", In, dns(PEER, 22), Dropped(PolicyNoRule)),
            ("first of the range", In, dns(PEER, 50), Rule(1)),
            ("last of the range", In, dns(PEER, 60), Rule(1)),
            ("below the range", In, dns(PEER, 49), Dropped(PolicyNoRule)),
            ("above the range", In, dns(PEER, 61), Dropped(PolicyNoRule)),
            ("not the one source", In, dns("10.0.0.8", 53), Dropped(PolicyNoRule)),
            ("ping", In, ip(PEER, HOST, ICMP, &icmp(8, 0, 1, &[])), Dropped(PolicyNoRule)),
        ],
    );
}

#[test]
fn rules_decide_on_what_the_host_opens() {
    expect(
        &load(&compiled(
            r#"{ "action": "accept", "src": ["10.0.0.2"], "dst": ["10.0.0.0/24:53"], "proto": "udp" },
               { "action": "deny", "src": ["10.0.0.2"], "dst": ["10.0.0.9:*"] },
               { "action": "accept", "src": ["10.0.0.2"], "dst": ["10.0.0.7:*"], "proto": "icmp" }"#,
        )),
        &[
            ("allowed", Out, udp(HOST, PEER, (5_000, 53)), Rule(0)),
            ("its answer", In, udp(PEER, HOST, (53, 5_000)), Flow),
            ("not allowed", Out, udp(HOST, PEER, (5_000, 54)), Dropped(PolicyNoRule)),
            ("denied", Out, udp(HOST, "10.0.0.9", (5_000, 53)), DroppedBy(PolicyDenied, 1)),
            ("the other way", In, udp(PEER, HOST, (5_000, 53)), Dropped(PolicyNoRule)),
            ("ping", Out, ip(HOST, PEER, ICMP, &icmp(8, 0, 7, &[])), Rule(2)),
            ("pong", In, ip(PEER, HOST, ICMP, &icmp(0, 0, 7, &[])), Flow),
            ("to nobody", In, ip(PEER, HOST, ICMP, &icmp(0, 0, 8, &[])), Dropped(PolicyNoRule)),
            ("ping back", In, ip(PEER, HOST, ICMP, &icmp(8, 0, 7, &[])), Dropped(PolicyNoRule)),
        ],
    );
}

#[test]
fn a_policy_without_rules_drops_all() {
    expect(
        &load(&compiled("")),
        &[
            ("tcp", In, tcp(PEER, HOST, (1, 22), SYN), Dropped(PolicyNoRule)),
            ("tcp out", Out, tcp(HOST, PEER, (1, 22), SYN), Dropped(PolicyNoRule)),
            ("ping", In, ip(PEER6, HOST6, ICMPV6, &icmp(128, 0, 1, &[])), Dropped(PolicyNoRule)),
        ],
    );
}

#[test]
fn what_cannot_be_read_is_dropped_with_its_reason() {
    let syn = tcp(PEER, HOST, (40_000, 22), SYN);
    let syn6 = tcp(PEER6, HOST6, (40_000, 22), SYN);
    let mut short_header = syn.clone();
    short_header[0] = 0x44;
    let mut arp = syn.clone();
    arp[0] = 0x00;
    let options = (60, [0; 8]);
    let authentication = (51, [0, 0, 0, 0, 0, 0, 0, 0]);
    let hidden = ip(HOST, "10.0.0.7", TCP, &ports(1, 22)[..13]);
    expect(
        &load(&compiled(SSH_AND_DNS)),
        &[
            ("half an IPv4 header", In, syn[..19].to_vec(), Dropped(PolicyTruncated)),
            ("half the ports", In, syn[..23].to_vec(), Dropped(PolicyTruncated)),
            ("no flags", In, syn[..33].to_vec(), Dropped(PolicyTruncated)),
            ("no flags, from the host", Out, hidden, Dropped(PolicyTruncated)),
            ("half an IPv6 header", In, syn6[..39].to_vec(), Dropped(PolicyTruncated)),
            ("half the ports, IPv6", In, syn6[..43].to_vec(), Dropped(PolicyTruncated)),
            ("a header shorter than a header", In, short_header, Dropped(PolicyTruncated)),
            (
                "half an extension",
                In,
                extended(&syn6, &[options])[..43].to_vec(),
                Dropped(PolicyTruncated),
            ),
            ("not IP", In, arp.clone(), Dropped(PolicyNotIp)),
            ("not IP, short", In, arp[..14].to_vec(), Dropped(PolicyNotIp)),
            ("not IP, from the host", Out, arp, Dropped(PolicyNotIp)),
            ("six extensions", In, extended(&syn6, &[options; 6]), Rule(0)),
            ("AH of no length", In, extended(&syn6, &[authentication]), Flow),
            (
                "seven extensions",
                In,
                extended(&syn6, &[options; 7]),
                Dropped(PolicyExtensionHeaders),
            ),
            (
                "an IPv4 source in IPv6",
                In,
                tcp("::ffff:10.0.0.7", "::ffff:10.0.0.2", (1, 22), SYN),
                Dropped(PolicyMappedAddress),
            ),
        ],
    );
}
