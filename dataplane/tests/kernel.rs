//! Packets in, action and counters out: the loaded programs, run on packets that exist nowhere else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use dataplane::{Action, Direction, DropReason, PolicyPrograms, RuleCounter};
use support::{ICMP, ICMPV6, TCP, UDP, compiled, extended, fragment, icmp, ip, load, ports};

const HOST: &str = "10.0.0.2";
const PEER: &str = "10.0.0.7";
const HOST6: &str = "fd00::2";
const PEER6: &str = "fd00::7";

const SSH_AND_DNS: &str = r#"
    { "action": "accept", "src": ["10.0.0.0/24", "fd00::/64"], "dst": ["10.0.0.2:22", "[fd00::2]:22"],
      "proto": "tcp" },
    { "action": "accept", "src": ["10.0.0.7"], "dst": ["10.0.0.0/24:50-60"], "proto": "udp" }
"#;

/// What became of one packet, and the only counters that it moved.
#[derive(Debug, PartialEq)]
enum Outcome {
    Rule(usize),
    RuleAndFlow(usize),
    Flow,
    Uncounted,
    Dropped(DropReason),
}

fn outcome(programs: &PolicyPrograms, direction: Direction, packet: &[u8]) -> Outcome {
    let before = programs.counters().unwrap();
    let action = programs.judge(direction, packet).unwrap();
    let after = programs.counters().unwrap();

    let bytes = packet.len() as u64;
    let one =
        |a: &RuleCounter, b: &RuleCounter| (b.packets, b.bytes) == (a.packets + 1, a.bytes + bytes);
    let moved: Vec<usize> = (0..after.rules.len())
        .filter(|&rule| before.rules[rule] != after.rules[rule])
        .inspect(|&rule| assert!(one(&before.rules[rule], &after.rules[rule])))
        .collect();
    let hits = after.flow_hits - before.flow_hits;
    let dropped: Vec<(DropReason, u64)> = DropReason::ALL
        .into_iter()
        .map(|reason| (reason, after.dropped(reason) - before.dropped(reason)))
        .filter(|(_, count)| *count > 0)
        .collect();
    match (action, &moved[..], hits, &dropped[..]) {
        (Action::Pass, [rule], 0, []) => Outcome::Rule(*rule),
        (Action::Pass, [rule], 1, []) => Outcome::RuleAndFlow(*rule),
        (Action::Pass, [], 1, []) => Outcome::Flow,
        (Action::Pass, [], 0, []) => Outcome::Uncounted,
        (Action::Drop, [], 0, [(reason, 1)]) => Outcome::Dropped(*reason),
        other => panic!("counters that do not fit together: {other:?}"),
    }
}

/// Judges packets in turn and compares each outcome.
fn expect(acls: &str, cases: &[(&str, Direction, Vec<u8>, Outcome)]) {
    let programs = load(&compiled(acls));
    for (name, direction, packet, expected) in cases {
        assert_eq!(outcome(&programs, *direction, packet), *expected, "{name}");
    }
}

use Direction::{In, Out};
use DropReason::{
    PolicyExtensionHeaders, PolicyFragment, PolicyMappedAddress, PolicyNoRule, PolicyNotIp,
    PolicyTruncated,
};
use Outcome::{Dropped, Flow, Rule, RuleAndFlow, Uncounted};

#[test]
fn rules_decide_on_what_a_peer_opens() {
    let syn = |from, to, port| ip(from, to, TCP, &ports(40_000, port));
    let dns = |from, port| ip(from, HOST, UDP, &ports(40_000, port));
    expect(
        SSH_AND_DNS,
        &[
            ("ssh", In, syn(PEER, HOST, 22), Rule(0)),
            ("ssh, once more", In, syn(PEER, HOST, 22), RuleAndFlow(0)),
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
fn a_policy_without_rules_drops_all_that_peers_open() {
    expect(
        "",
        &[
            ("tcp", In, ip(PEER, HOST, TCP, &ports(1, 22)), Dropped(PolicyNoRule)),
            ("ping", In, ip(PEER6, HOST6, ICMPV6, &icmp(128, 0, 1, &[])), Dropped(PolicyNoRule)),
        ],
    );
}

#[test]
fn answers_pass_because_the_host_asked() {
    let answer = |from_port, to_port| ip(PEER, HOST, UDP, &ports(from_port, to_port));
    expect(
        "",
        &[
            ("an answer unasked", In, answer(53, 5_000), Dropped(PolicyNoRule)),
            ("the question", Out, ip(HOST, PEER, UDP, &ports(5_000, 53)), Uncounted),
            ("the question again", Out, ip(HOST, PEER, UDP, &ports(5_000, 53)), Flow),
            ("the answer", In, answer(53, 5_000), Flow),
            ("from another port", In, answer(54, 5_000), Dropped(PolicyNoRule)),
            ("ping", Out, ip(HOST, PEER, ICMP, &icmp(8, 0, 7, &[])), Uncounted),
            ("pong", In, ip(PEER, HOST, ICMP, &icmp(0, 0, 7, &[])), Flow),
            (
                "pong to nobody",
                In,
                ip(PEER, HOST, ICMP, &icmp(0, 0, 8, &[])),
                Dropped(PolicyNoRule),
            ),
            ("ping back", In, ip(PEER, HOST, ICMP, &icmp(8, 0, 7, &[])), Dropped(PolicyNoRule)),
            ("ping, IPv6", Out, ip(HOST6, PEER6, ICMPV6, &icmp(128, 0, 7, &[])), Uncounted),
            ("pong, IPv6", In, ip(PEER6, HOST6, ICMPV6, &icmp(129, 0, 7, &[])), Flow),
        ],
    );
}

#[test]
fn errors_pass_that_are_about_a_flow() {
    let sent = ip(HOST, PEER, TCP, &ports(5_000, 443));
    let sent6 = ip(HOST6, PEER6, TCP, &ports(5_000, 443));
    let forged = ip(HOST, PEER, TCP, &ports(5_001, 443));
    let router = "10.0.9.9";
    let too_big = |about: &[u8]| ip(router, HOST, ICMP, &icmp(3, 4, 0, about));
    let too_big6 = |about: &[u8]| ip("fd00:9::9", HOST6, ICMPV6, &icmp(2, 0, 0, about));
    expect(
        "",
        &[
            ("about nothing", In, too_big(&sent[..28]), Dropped(PolicyNoRule)),
            ("the packet", Out, sent.clone(), Uncounted),
            ("the packet, IPv6", Out, sent6.clone(), Uncounted),
            ("about the packet", In, too_big(&sent[..28]), Flow),
            ("about the packet, IPv6", In, too_big6(&sent6), Flow),
            ("about another", In, too_big(&forged[..28]), Dropped(PolicyNoRule)),
            (
                "to another",
                In,
                ip(router, "10.0.0.3", ICMP, &icmp(3, 4, 0, &sent)),
                Dropped(PolicyNoRule),
            ),
            ("about too little", In, too_big(&sent[..21]), Dropped(PolicyNoRule)),
            (
                "a redirect",
                In,
                ip(router, HOST, ICMP, &icmp(5, 1, 0, &sent)),
                Dropped(PolicyNoRule),
            ),
        ],
    );
}

#[test]
fn what_cannot_be_read_is_dropped_with_its_reason() {
    let syn = ip(PEER, HOST, TCP, &ports(40_000, 22));
    let syn6 = ip(PEER6, HOST6, TCP, &ports(40_000, 22));
    let mut short_header = syn.clone();
    short_header[0] = 0x44;
    let mut arp = syn.clone();
    arp[0] = 0x00;
    let options = (60, [0; 8]);
    expect(
        SSH_AND_DNS,
        &[
            ("half an IPv4 header", In, syn[..19].to_vec(), Dropped(PolicyTruncated)),
            ("half the ports", In, syn[..23].to_vec(), Dropped(PolicyTruncated)),
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
            ("not IP, from the host", Out, arp, Uncounted),
            ("six extensions", In, extended(&syn6, &[options; 6]), Rule(0)),
            (
                "seven extensions",
                In,
                extended(&syn6, &[options; 7]),
                Dropped(PolicyExtensionHeaders),
            ),
            (
                "an IPv4 source in IPv6",
                In,
                ip("::ffff:10.0.0.7", "::ffff:10.0.0.2", TCP, &ports(1, 22)),
                Dropped(PolicyMappedAddress),
            ),
        ],
    );
}

#[test]
fn later_fragments_follow_the_first() {
    let first = |port| ip(PEER, HOST, UDP, &ports(40_000, port));
    let later = ip(PEER, HOST, UDP, &[0xaa; 24]);
    let syn6 = ip(PEER6, HOST6, TCP, &ports(40_001, 22));
    let fragment6 = |offset: u8, id: u8| (44, [0, 0, 0, offset, 0, 0, 0, id]);
    expect(
        SSH_AND_DNS,
        &[
            ("later, alone", In, fragment(later.clone(), 1, 3, false), Dropped(PolicyFragment)),
            ("first, denied", In, fragment(first(61), 1, 0, true), Dropped(PolicyNoRule)),
            ("later of denied", In, fragment(later.clone(), 1, 3, false), Dropped(PolicyFragment)),
            ("first", In, fragment(first(53), 2, 0, true), Rule(1)),
            ("later", In, fragment(later.clone(), 2, 3, true), RuleAndFlow(1)),
            ("last", In, fragment(later.clone(), 2, 6, false), RuleAndFlow(1)),
            (
                "another datagram's",
                In,
                fragment(later.clone(), 3, 3, false),
                Dropped(PolicyFragment),
            ),
            ("from the host", Out, fragment(later, 9, 3, false), Uncounted),
            ("whole in one, IPv6", In, extended(&syn6, &[fragment6(0, 1)]), Rule(0)),
            (
                "later of that, IPv6",
                In,
                extended(&syn6, &[fragment6(8, 1)]),
                Dropped(PolicyFragment),
            ),
            ("first, IPv6", In, extended(&syn6, &[fragment6(1, 2)]), RuleAndFlow(0)),
            ("later, IPv6", In, extended(&syn6, &[fragment6(8, 2)]), RuleAndFlow(0)),
        ],
    );
}

#[test]
fn a_change_of_policy_judges_live_flows_again() {
    let syn = |port| ip(PEER, HOST, TCP, &ports(40_000, port));
    let ack = |port| ip(HOST, PEER, TCP, &ports(port, 40_000));
    let question = ip(HOST, PEER, UDP, &ports(5_000, 53));
    let answer = ip(PEER, HOST, UDP, &ports(53, 5_000));
    let rule = |ports: &str| {
        compiled(&format!(
            r#"{{ "action": "accept", "src": ["*"], "dst": ["*:{ports}"], "proto": "tcp" }}"#
        ))
    };

    let mut programs = load(&rule("22,80"));
    let judge = |programs: &PolicyPrograms, steps: &[(Direction, &[u8], Outcome)]| {
        for (step, (direction, packet, expected)) in steps.iter().enumerate() {
            assert_eq!(outcome(programs, *direction, packet), *expected, "step {step}");
        }
    };
    judge(
        &programs,
        &[
            (In, &syn(22), Rule(0)),
            (Out, &ack(22), Flow),
            (In, &syn(80), Rule(0)),
            (In, &syn(80), RuleAndFlow(0)),
            (Out, &question, Uncounted),
        ],
    );
    assert_eq!(programs.counters().unwrap().rules[0].packets, 3);
    assert_eq!(programs.flow_count().unwrap(), 3);

    let before = programs.generation();
    let after = programs.apply(&rule("80")).unwrap();
    assert_eq!(after.0, before.0 + 1);
    assert_eq!(programs.counters().unwrap().generation, after);
    assert_eq!(programs.counters().unwrap().rules[0].packets, 0);
    judge(
        &programs,
        &[
            // Revoked, and stays so although the host goes on sending.
            (In, &syn(22), Dropped(PolicyNoRule)),
            (Out, &ack(22), Flow),
            (In, &syn(22), Dropped(PolicyNoRule)),
            // Still allowed: judged once more, then known.
            (In, &syn(80), Rule(0)),
            (In, &syn(80), RuleAndFlow(0)),
            // The host's own.
            (In, &answer, Flow),
        ],
    );

    programs.apply(&rule("22")).unwrap();
    judge(
        &programs,
        &[(In, &syn(22), Rule(0)), (In, &syn(80), Dropped(PolicyNoRule)), (In, &answer, Flow)],
    );
}
