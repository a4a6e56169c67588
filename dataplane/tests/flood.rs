//! A flood of new flows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::net::Ipv4Addr;

use dataplane::{Action, Direction, Loss};
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

#[test]
fn a_peer_that_opens_answered_flows_without_end_pushes_only_its_own_out() {
    let programs = load(&compiled(
        r#"{ "action": "accept", "src": ["10.0.0.0/8"], "dst": ["10.0.0.0/24:*"], "proto": "tcp" }"#,
    ));
    let connect = |host: &str, peer: &str, port: u16| {
        let syn = tcp(peer, host, (port, 22), SYN);
        assert_eq!(programs.judge(Direction::In, &syn).unwrap(), Action::Pass);
        let answer = tcp(host, peer, (22, port), SYN | ACK);
        assert_eq!(programs.judge(Direction::Out, &answer).unwrap(), Action::Pass);
    };
    let quiet: Vec<_> = (0..4_000).map(|port| ("10.0.0.2", "10.0.0.7", 1_000 + port)).collect();
    for &(host, peer, port) in &quiet {
        connect(host, peer, port);
    }
    // Twice as many as there is room for.
    for host in 0..64 {
        for port in 0..4_096 {
            connect(&format!("10.0.0.{}", 10 + host), "10.9.9.9", 1_024 + port);
        }
    }
    let counts = programs.flow_counts();
    assert!(counts.answered > 120_000, "the table is full: {counts:?}");
    let lost = programs.losses().unwrap();
    let displaced = lost.iter().find(|(loss, _)| *loss == Loss::Displaced).map(|(_, count)| *count);
    assert!(displaced > Some(120_000), "{lost:?}");
    let stay = quiet.iter().filter(|&&(host, peer, port)| {
        let data = tcp(peer, host, (port, 22), ACK);
        programs.judge(Direction::In, &data).unwrap() == Action::Pass
    });
    let stay = stay.count();
    assert!(stay >= quiet.len() - 20, "{stay} of {} stay", quiet.len());
}
