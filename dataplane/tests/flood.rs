//! A flood of new flows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::net::Ipv4Addr;

use dataplane::{Action, Direction};
use support::{
    ACK, SYN, compiled, load,
    outcome::{Outcome, expect},
    tcp,
};

#[test]
fn a_flood_of_new_flows_leaves_an_idle_one_in_place() {
    let programs = load(&compiled(
        r#"{ "action": "accept", "src": ["10.0.0.0/8"], "dst": ["10.0.0.2:*"], "proto": "tcp" }"#,
    ));
    let (host, peer) = ("10.0.0.2", "10.0.0.7");
    expect(
        &programs,
        &[
            ("SYN", Direction::In, tcp(peer, host, (40_000, 22), SYN), Outcome::Rule(0)),
            ("SYN ACK", Direction::Out, tcp(host, peer, (22, 40_000), SYN | ACK), Outcome::Flow),
        ],
    );
    for number in 0..200_000 {
        let source = Ipv4Addr::from_bits(0x0a10_0000 + number).to_string();
        let flood = tcp(&source, host, (1_024, 22), SYN);
        assert_eq!(programs.judge(Direction::In, &flood).unwrap(), Action::Pass);
    }
    let counts = programs.flow_counts();
    assert_eq!(counts.answered, 1);
    assert!(counts.opening <= 16_384, "{counts:?}");
    let data = tcp(peer, host, (40_000, 22), ACK);
    expect(&programs, &[("data", Direction::In, data, Outcome::Flow)]);
}
