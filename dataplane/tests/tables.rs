//! Tables in the kernel: denials, ranges of ports, what does not fit.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use dataplane::{Action, Direction, DropReason};
use support::{UDP, compiled, ip, load, ports};

#[test]
fn a_denial_drops_and_counts_for_its_rule() {
    let programs = load(&compiled(
        r#"{ "action": "accept", "src": ["10.0.0.0/24"], "dst": ["*:*"] },
           { "action": "deny", "src": ["10.0.0.7"], "dst": ["10.0.0.2:53"] }"#,
    ));
    let packet = |port| ip("10.0.0.7", "10.0.0.2", UDP, &ports(40_000, port));
    assert_eq!(programs.judge(Direction::In, &packet(54)).unwrap(), Action::Pass);
    assert_eq!(programs.judge(Direction::In, &packet(53)).unwrap(), Action::Drop);
    assert_eq!(programs.judge(Direction::In, &packet(53)).unwrap(), Action::Drop);
    let counters = programs.counters().unwrap();
    assert_eq!(counters.drops, [(DropReason::PolicyDenied, 2)]);
    let length = packet(53).len() as u64;
    let counted: Vec<_> = counters.rules.iter().map(|rule| (rule.packets, rule.bytes)).collect();
    assert_eq!(counted, [(1, length), (2, 2 * length)]);
}

#[test]
fn ranges_end_where_they_say() {
    let programs = load(&compiled(
        r#"{ "action": "accept", "src": ["*"], "dst": ["*:7,20-33,1025-65534"], "proto": "udp" }"#,
    ));
    for (port, passes) in [
        (6, false),
        (7, true),
        (8, false),
        (19, false),
        (20, true),
        (33, true),
        (34, false),
        (1_024, false),
        (1_025, true),
        (32_768, true),
        (65_534, true),
        (65_535, false),
    ] {
        let packet = ip("10.0.0.7", "10.0.0.2", UDP, &ports(40_000, port));
        let expected = if passes { Action::Pass } else { Action::Drop };
        assert_eq!(programs.judge(Direction::In, &packet).unwrap(), expected, "port {port}");
    }
}
