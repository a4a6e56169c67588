//! The kernel and the model judge alike, packet by packet, over changes of policy.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::iter;

use dataplane::{Action, Counters, Direction, Event, EventKind, Model, Nanos, RuleIndex, Verdict};
use proptest::{collection::vec, prelude::*, sample::select};
use support::{compiled, extended, fragment, icmp, ip, load, ports};

const POLICIES: [&str; 4] = [
    "",
    r#"{ "action": "accept", "src": ["10.0.0.0/30", "fd00::/126"], "dst": ["*:20-33"] },
       { "action": "accept", "src": ["*"], "dst": ["10.0.0.2:1-3", "[fd00::2]:1-3"], "proto": "udp" },
       { "action": "accept", "src": ["10.0.0.1"], "dst": ["10.0.0.0/24:*"], "proto": "icmp" }"#,
    r#"{ "action": "accept", "src": ["::/0"], "dst": ["fd00::/16:*"] },
       { "action": "accept", "src": ["10.0.0.6"], "dst": ["10.0.0.2:*"], "proto": "tcp" },
       { "action": "accept", "src": ["0.0.0.0/0"], "dst": ["10.0.0.2:22"], "proto": "sctp" }"#,
    r#"{ "action": "accept", "src": ["*"], "dst": ["*:*"] },
       { "action": "deny", "src": ["10.0.0.4/30", "fd00::5"], "dst": ["*:2-22,34"] },
       { "action": "deny", "src": ["10.0.0.3"], "dst": ["10.0.0.0/30:*"], "proto": "icmp" }"#,
];

#[derive(Clone, Debug)]
enum Step {
    Apply(usize),
    Packet(Direction, Vec<u8>),
}

fn payload() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let port = || select(vec![1u16, 3, 4, 22, 33, 34]);
    let marks = (select(vec![0u8, 1, 1, 6, 14]), select(vec![0u8, 1, 2, 2, 4, 16, 16, 17, 18, 20]));
    let transport = (select(vec![6u8, 6, 17, 132]), port(), port(), marks).prop_map(
        |(protocol, from, to, (chunk, flags))| {
            let mut header = ports(from, to);
            header[12..14].copy_from_slice(&[chunk, flags]);
            (protocol, header)
        },
    );
    let echo = (select(vec![(1u8, 8u8), (1, 0), (58, 128), (58, 129), (1, 13)]), 0u16..3)
        .prop_map(|((protocol, kind), id)| (protocol, icmp(kind, 0, id, &[])));
    // An error about a packet that may well have been sent before.
    let error = (any::<bool>(), 1u8..4, port(), port()).prop_map(|(v6, host, from, to)| {
        let about = |a: &str, b: &str| ip(a, b, 17, &ports(from, to));
        if v6 {
            (58, icmp(2, 0, 0, &about(&format!("fd00::{host}"), "fd00::6")))
        } else {
            (1, icmp(3, 4, 0, &about(&format!("10.0.0.{host}"), "10.0.0.6")))
        }
    });
    let other = vec(any::<u8>(), 0..24).prop_map(|bytes| (47, bytes));
    prop_oneof![4 => transport, 2 => echo, 1 => error, 1 => other]
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let v4 = (
        1u8..8,
        1u8..4,
        payload(),
        prop_oneof![
            6 => Just(None),
            1 => (0u16..2, 0u16..3, any::<bool>()).prop_map(Some),
        ],
    )
        .prop_map(|(from, to, (protocol, payload), fragmented)| {
            let packet = ip(&format!("10.0.0.{from}"), &format!("10.0.0.{to}"), protocol, &payload);
            match fragmented {
                Some((id, offset, more)) => fragment(packet, id, offset, more),
                None => packet,
            }
        });
    let header = prop_oneof![
        (select(vec![0u8, 43, 60]), any::<[u8; 6]>())
            .prop_map(|(kind, [a, b, c, d, e, f])| (kind, [0, 0, a, b, c, d, e, f])),
        (select(vec![0u8, 1, 8]), 0u8..2)
            .prop_map(|(offset, id)| (44, [0, 0, 0, offset, 0, 0, 0, id])),
        Just((51, [0; 8])),
    ];
    let v6 = (
        1u8..8,
        1u8..4,
        payload(),
        prop_oneof![
            4 => Just(Vec::new()),
            1 => vec(header, 1..8),
        ],
    )
        .prop_map(|(from, to, (protocol, payload), headers)| {
            let packet = ip(&format!("fd00::{from}"), &format!("fd00::{to}"), protocol, &payload);
            extended(&packet, &headers)
        });
    // The other way round, so that the host's packets open flows that peers answer.
    let well_formed = prop_oneof![v4, v6];
    let cut =
        (well_formed, any::<prop::sample::Index>(), 0u8..10).prop_map(|(mut bytes, at, cut)| {
            if cut == 0 {
                bytes.truncate(14 + at.index(bytes.len() - 13));
            } else if cut == 1 {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << (at % 8);
            }
            bytes
        });
    let noise = vec(any::<u8>(), 14..80);
    // A test run takes these two bytes for an Ethernet type and refuses a packet that is too short for
    // it.
    let runs = |packet: &Vec<u8>| !matches!(packet[12..14], [0x08, 0x00] | [0x86, 0xdd]);
    prop_oneof![20 => cut, 1 => noise].prop_filter("refused by the test run", runs)
}

fn step() -> impl Strategy<Value = Step> {
    let direction = select(vec![Direction::In, Direction::In, Direction::Out]);
    prop_oneof![
        1 => (0..POLICIES.len()).prop_map(Step::Apply),
        30 => (direction, packet()).prop_map(|(direction, packet)| Step::Packet(direction, packet)),
    ]
}

/// What an event says of a flow but for the time; denials are told only so fast.
fn told(event: &Event) -> Option<impl PartialEq + std::fmt::Debug + use<>> {
    let Event { kind, direction, key, generation, rule, sent, received, .. } = *event;
    let of_flow = !matches!(kind, EventKind::Denial(_));
    of_flow.then_some((kind, direction, key, generation, rule, sent, received))
}

/// The rules that counted a packet.
fn counted(before: &Counters, after: &Counters) -> Vec<RuleIndex> {
    let rules = (0..).zip(before.rules.iter().zip(&after.rules));
    rules
        .flat_map(|(index, (before, after))| {
            (before.packets..after.packets).map(move |_| RuleIndex(index))
        })
        .collect()
}

proptest! {
    // Each case loads the programs anew and runs some two hundred packets.
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_judges_as_the_model(steps in vec(step(), 150..250)) {
        let first = compiled(POLICIES[1]);
        let mut kernel = load(&first);
        let mut model = Model::new(&first);
        let mut events = kernel.take_events().unwrap().unwrap();
        for step in steps {
            match step {
                Step::Apply(index) => {
                    let policy = compiled(POLICIES[index]);
                    kernel.apply(&policy).unwrap();
                    model.apply(&policy);
                }
                Step::Packet(direction, packet) => {
                    let before = kernel.counters().unwrap();
                    let action = kernel.judge(direction, &packet).unwrap();
                    let after = kernel.counters().unwrap();
                    // No flow ages within a test: any fixed time does.
                    match model.judge(direction, &packet, Nanos::from_secs(1)) {
                        Verdict::Allow { rule, flow_hit } => {
                            prop_assert_eq!(action, Action::Pass, "{:02x?}", packet);
                            prop_assert_eq!(after.flow_hits - before.flow_hits, u64::from(flow_hit));
                            let decided = if flow_hit { None } else { Some(rule) };
                            prop_assert_eq!(&counted(&before, &after), &Vec::from_iter(decided));
                            prop_assert_eq!(&after.drops, &before.drops);
                        }
                        Verdict::Drop { reason, rule } => {
                            prop_assert_eq!(action, Action::Drop, "{:?} {:02x?}", reason, packet);
                            let of_rules = counted(&before, &after);
                            prop_assert_eq!(&of_rules, &Vec::from_iter(rule), "{:?} {:02x?}", reason, packet);
                            prop_assert_eq!(after.dropped(reason), before.dropped(reason) + 1);
                        }
                    }
                    let of_kernel: Vec<_> = iter::from_fn(|| events.next()).collect();
                    let of_kernel: Vec<_> = of_kernel.iter().filter_map(told).collect();
                    let of_model: Vec<_> = model.take_events().iter().filter_map(told).collect();
                    prop_assert_eq!(of_kernel, of_model, "{:02x?}", packet);
                }
            }
        }
    }
}
