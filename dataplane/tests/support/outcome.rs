//! What became of a packet, by what it moved.

use dataplane::{Action, Direction, DropReason, PolicyPrograms, RuleCounter};

/// What became of one packet, and the only counters that it moved.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It passed by this rule.
    Rule(usize),
    /// It passed as one of a flow, whose rule is not counted again.
    Flow,
    /// It was dropped.
    Dropped(DropReason),
    /// It was dropped, by this rule.
    DroppedBy(DropReason, usize),
}

/// Judges a packet.
pub(crate) fn outcome(programs: &PolicyPrograms, direction: Direction, packet: &[u8]) -> Outcome {
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
        (Action::Pass, [], 1, []) => Outcome::Flow,
        (Action::Drop, [], 0, [(reason, 1)]) => Outcome::Dropped(*reason),
        (Action::Drop, [rule], 0, [(reason, 1)]) => Outcome::DroppedBy(*reason, *rule),
        other => panic!("counters that do not fit together: {other:?}"),
    }
}

/// A packet with its name, and what is to become of it.
pub(crate) type Case = (&'static str, Direction, Vec<u8>, Outcome);

/// Judges packets in turn and compares each outcome.
pub(crate) fn expect(programs: &PolicyPrograms, cases: &[Case]) {
    for (name, direction, packet, expected) in cases {
        assert_eq!(outcome(programs, *direction, packet), *expected, "{name}");
    }
}
