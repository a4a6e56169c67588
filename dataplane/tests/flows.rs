//! Flows: how they open, are answered, end, and fall with the policy that allowed them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use dataplane::Direction::{In, Out};
use dataplane::DropReason::{PolicyNoRule, PolicyNoSyn, PolicyRevoked, PolicyUnrelatedError};
use support::{
    ACK, FIN, HOST, HOST6, ICMP, ICMPV6, PEER, PEER6, RST, SYN, compiled, icmp, ip, load,
    outcome::Outcome::{Dropped, DroppedBy, Flow, Rule},
    outcome::expect,
    sctp, tcp, udp,
};

/// Peers may open SSH here, and the host the web there.
const SSH_AND_WEB: &str = r#"
    { "action": "accept", "src": ["10.0.0.7", "fd00::7"], "dst": ["10.0.0.2:22", "[fd00::2]:22"] },
    { "action": "accept", "src": ["10.0.0.2", "fd00::2"], "dst": ["10.0.0.7:443", "[fd00::7]:443"] }
"#;

#[test]
fn connections_open_by_a_syn_alone() {
    let first = |flags| tcp(PEER, HOST, (1_000 + u16::from(flags), 22), flags);
    let programs = load(&compiled(SSH_AND_WEB));
    for flags in [0, ACK, SYN | ACK, SYN | RST, SYN | FIN, RST, FIN | ACK, RST | ACK] {
        expect(&programs, &[("no SYN", In, first(flags), Dropped(PolicyNoSyn))]);
    }
    // With the bits of congestion control and of pushing, as senders set them.
    for flags in [SYN, SYN | 0xc0, SYN | 0x08] {
        expect(&programs, &[("a SYN", In, first(flags), Rule(0))]);
    }
    let other = tcp(PEER, HOST, (1, 23), ACK);
    expect(&programs, &[("no rule either", In, other, Dropped(PolicyNoRule))]);
}

#[test]
fn a_connection_of_a_peer() {
    let peer = |flags| tcp(PEER, HOST, (40_000, 22), flags);
    let host = |flags| tcp(HOST, PEER, (22, 40_000), flags);
    let programs = load(&compiled(SSH_AND_WEB));
    expect(
        &programs,
        &[
            ("an answer to nothing", Out, host(SYN | ACK), Dropped(PolicyNoRule)),
            ("SYN", In, peer(SYN), Rule(0)),
            ("SYN ACK", Out, host(SYN | ACK), Flow),
            ("ACK", In, peer(ACK), Flow),
            ("FIN of one", In, peer(FIN | ACK), Flow),
            ("data of the other", Out, host(ACK), Flow),
            ("FIN of the other", Out, host(FIN | ACK), Flow),
            ("the last ACK", In, peer(ACK), Flow),
            ("another by the same ports", In, peer(SYN), Rule(0)),
            ("refused", Out, host(RST | ACK), Flow),
            ("a late one", In, peer(ACK), Flow),
            ("a SYN of the wrong side", Out, host(SYN), Dropped(PolicyNoRule)),
        ],
    );
}

#[test]
fn answered_flows_are_kept_apart() {
    let programs = load(&compiled(SSH_AND_WEB));
    let counts = || {
        let counts = programs.flow_counts();
        (counts.answered, counts.opening)
    };
    assert_eq!(counts(), (0, 0));
    expect(&programs, &[("SYN", Out, tcp(HOST, PEER, (5_000, 443), SYN), Rule(1))]);
    expect(&programs, &[("question", Out, udp(HOST, PEER, (5_000, 443)), Rule(1))]);
    expect(&programs, &[("question", Out, udp(HOST, PEER, (5_000, 443)), Flow)]);
    assert_eq!(counts(), (0, 2));
    expect(&programs, &[("answer", In, udp(PEER, HOST, (443, 5_000)), Flow)]);
    assert_eq!(counts(), (1, 1));
    expect(&programs, &[("refusal", In, tcp(PEER, HOST, (443, 5_000), RST | ACK), Flow)]);
    assert_eq!(counts(), (1, 1));
    expect(&programs, &[("SYN", Out, tcp(HOST, PEER, (5_001, 443), SYN), Rule(1))]);
    expect(&programs, &[("SYN ACK", In, tcp(PEER, HOST, (443, 5_001), SYN | ACK), Flow)]);
    assert_eq!(counts(), (2, 1));
}

#[test]
fn associations_open_by_init_and_end() {
    const INIT: u8 = 1;
    const ABORT: u8 = 6;
    let peer = |chunk| sctp(PEER, HOST, (40_000, 22), chunk);
    let host = |chunk| sctp(HOST, PEER, (22, 40_000), chunk);
    let acls = r#"{ "action": "accept", "src": ["*"], "dst": ["10.0.0.2:22"], "proto": "sctp" }"#;
    expect(
        &load(&compiled(acls)),
        &[
            ("data", In, peer(0), Dropped(PolicyNoSyn)),
            ("INIT", In, peer(INIT), Rule(0)),
            ("INIT ACK", Out, host(2), Flow),
            ("data", In, peer(0), Flow),
            ("ABORT", In, peer(ABORT), Flow),
            ("INIT anew", In, peer(INIT), Rule(0)),
        ],
    );
}

#[test]
fn errors_pass_that_are_about_a_flow() {
    let sent = tcp(HOST, PEER, (5_000, 443), SYN);
    let sent6 = tcp(HOST6, PEER6, (5_000, 443), SYN);
    let forged = tcp(HOST, PEER, (5_001, 443), SYN);
    let received = tcp(PEER, HOST, (40_000, 22), SYN);
    let unsent = tcp(HOST, PEER, (22, 40_000), ACK);
    let router = "10.0.9.9";
    let too_big = |about: &[u8]| ip(router, HOST, ICMP, &icmp(3, 4, 0, about));
    let too_big6 = |about: &[u8]| ip("fd00:9::9", HOST6, ICMPV6, &icmp(2, 0, 0, about));
    let refused = |about: &[u8]| ip(HOST, PEER, ICMP, &icmp(3, 3, 0, about));
    let unrelated = || Dropped(PolicyUnrelatedError);
    expect(
        &load(&compiled(SSH_AND_WEB)),
        &[
            ("about nothing", In, too_big(&sent[..28]), unrelated()),
            ("the packet", Out, sent.clone(), Rule(1)),
            ("the packet, IPv6", Out, sent6.clone(), Rule(1)),
            ("about the packet", In, too_big(&sent[..28]), Flow),
            ("about the packet, IPv6", In, too_big6(&sent6), Flow),
            ("about another", In, too_big(&forged[..28]), unrelated()),
            ("about what the host got", In, too_big(&received), unrelated()),
            ("to another", In, ip(router, "10.0.0.3", ICMP, &icmp(3, 4, 0, &sent)), unrelated()),
            ("about too little", In, too_big(&sent[..21]), unrelated()),
            ("the wrong way", Out, refused(&sent), unrelated()),
            ("a peer's", In, received.clone(), Rule(0)),
            ("about what was not sent", In, too_big(&unsent), unrelated()),
            ("of the host's about it", Out, refused(&received[..28]), Flow),
            ("an answer", Out, unsent.clone(), Flow),
            ("about what was sent", In, too_big(&unsent), Flow),
            ("about an error", In, too_big(&refused(&received)), unrelated()),
            ("a redirect", In, ip(router, HOST, ICMP, &icmp(5, 1, 0, &sent)), unrelated()),
        ],
    );
}

#[test]
fn an_error_about_what_was_not_sent_concerns_no_rule() {
    let asked = udp(HOST, PEER, (5_000, 53));
    let answer = udp(PEER, HOST, (53, 5_000));
    let about = |from, packet: &[u8]| ip(from, PEER, ICMP, &icmp(3, 3, 0, packet));
    let dns = r#"{ "action": "accept", "src": ["10.0.0.2"], "dst": ["10.0.0.7:53"] }"#;
    let mut programs = load(&compiled(dns));
    expect(&programs, &[("a question", Out, asked.clone(), Rule(0))]);
    programs.apply(&compiled(dns)).unwrap();
    expect(
        &programs,
        &[
            // The policy is new, and yet it is not asked.
            ("no answer was", Out, about(HOST, &answer), Dropped(PolicyUnrelatedError)),
            ("an answer", In, answer.clone(), Rule(0)),
            ("the answer was", Out, about(HOST, &answer), Flow),
        ],
    );
}

#[test]
fn a_change_of_policy_judges_live_flows_again() {
    let peer = |port, flags| tcp(PEER, HOST, (40_000, port), flags);
    let host = |port, flags| tcp(HOST, PEER, (port, 40_000), flags);
    let question = || udp(HOST, PEER, (5_000, 53));
    let answer = || udp(PEER, HOST, (53, 5_000));
    let rules = |acls: &[&str]| compiled(&acls.join(","));
    let ssh = r#"{ "action": "accept", "src": ["10.0.0.7"], "dst": ["10.0.0.2:22"] }"#;
    let web = r#"{ "action": "accept", "src": ["10.0.0.7"], "dst": ["10.0.0.2:80"] }"#;
    let dns = r#"{ "action": "accept", "src": ["10.0.0.2"], "dst": ["10.0.0.7:53"] }"#;
    let no_web = r#"{ "action": "deny", "src": ["10.0.0.7"], "dst": ["*:80"] }"#;

    let mut programs = load(&rules(&[ssh, web, dns]));
    expect(
        &programs,
        &[
            ("ssh", In, peer(22, SYN), Rule(0)),
            ("ssh, answered", Out, host(22, SYN | ACK), Flow),
            ("web", In, peer(80, SYN), Rule(1)),
            ("web, answered", Out, host(80, SYN | ACK), Flow),
            ("dns", Out, question(), Rule(2)),
        ],
    );
    let before = programs.generation();
    let after = programs.apply(&rules(&[web, dns])).unwrap();
    assert_eq!(after, before.next());
    assert_eq!(programs.counters().unwrap().generation, after);
    assert_eq!(programs.counters().unwrap().rules[0].packets, 0);
    expect(
        &programs,
        &[
            // The host's side of the peer's flow is the first to go on.
            ("ssh, revoked", Out, host(22, ACK), Dropped(PolicyRevoked)),
            ("ssh, of the peer", In, peer(22, ACK), Dropped(PolicyNoRule)),
            ("ssh, of the host", Out, host(22, ACK), Dropped(PolicyNoRule)),
            // Judged once more, as the peer's, then known.
            ("web, of the host", Out, host(80, ACK), Rule(0)),
            ("web, of the peer", In, peer(80, ACK), Flow),
            ("dns, answered", In, answer(), Rule(1)),
        ],
    );
    programs.apply(&rules(&[ssh, no_web, dns])).unwrap();
    expect(
        &programs,
        &[
            ("dns goes on", In, answer(), Rule(2)),
            ("web, denied", In, peer(80, ACK), DroppedBy(PolicyRevoked, 1)),
            ("ssh, but no SYN", In, peer(22, ACK), Dropped(PolicyNoSyn)),
            ("ssh anew", In, peer(22, SYN), Rule(0)),
        ],
    );
    programs.apply(&rules(&[ssh])).unwrap();
    expect(
        &programs,
        &[
            ("a host's flow, revoked", In, answer(), Dropped(PolicyRevoked)),
            ("and gone", Out, question(), Dropped(PolicyNoRule)),
        ],
    );
}
