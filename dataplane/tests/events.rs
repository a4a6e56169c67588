//! What the kernel tells of flows and denials, and what it remembers of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::net::IpAddr;

use dataplane::{
    Address, Direction::In, Direction::Out, DropReason, EndReason, Event, EventKind, Events,
    EventsSize, FlowKey, Loss, Nanos, Opener, PolicyPrograms, RuleIndex,
};
use support::{ACK, FIN, HOST, PEER, RST, SYN, compiled, load, tcp, udp};

const SSH_AND_DNS: &str = r#"
    { "action": "deny", "src": ["10.0.0.9"], "dst": ["*:*"] },
    { "action": "accept", "src": ["10.0.0.0/24"], "dst": ["10.0.0.2:22"], "proto": "tcp" },
    { "action": "accept", "src": ["10.0.0.2"], "dst": ["10.0.0.7:53"], "proto": "udp" }
"#;

fn key(protocol: u8, host_port: u16, peer_port: u16) -> FlowKey {
    let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
    FlowKey::new(protocol, (address(HOST), host_port), (address(PEER), peer_port))
}

fn drain(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.next()).collect()
}

#[test]
fn flows_are_told_from_start_to_end() {
    let mut programs = load(&compiled(SSH_AND_DNS));
    let mut events = programs.take_events().unwrap().unwrap();
    assert!(programs.take_events().unwrap().is_none());
    let peer = |flags| tcp(PEER, HOST, (40_000, 22), flags);
    let host = |flags| tcp(HOST, PEER, (22, 40_000), flags);
    for (direction, packet) in [
        (In, peer(SYN)),
        (Out, host(SYN | ACK)),
        (In, peer(ACK)),
        (In, peer(FIN | ACK)),
        (Out, host(FIN | ACK)),
        (In, peer(ACK)),
        (In, peer(RST)),
    ] {
        programs.judge(direction, &packet).unwrap();
    }
    let told = drain(&mut events);
    let [start, end] = told[..] else { panic!("{told:?}") };
    let length = peer(SYN).len() as u64;
    assert_eq!(start.kind, EventKind::Start);
    assert_eq!((start.direction, start.key), (In, key(6, 22, 40_000)));
    assert_eq!((start.rule, start.generation), (Some(RuleIndex(1)), programs.generation()));
    assert_eq!((start.received.packets, start.received.bytes), (1, length));
    assert_eq!((start.sent.packets, start.at), (0, start.opened));
    assert_eq!(end.kind, EventKind::End(EndReason::Closed));
    assert_eq!((end.direction, end.key, end.opened), (In, start.key, start.opened));
    assert_eq!((end.received.packets, end.received.bytes), (3, 3 * length));
    assert_eq!((end.sent.packets, end.sent.bytes), (2, 2 * length));
    assert_eq!(programs.losses().unwrap(), []);
}

#[test]
fn revocations_and_denials_are_told() {
    let mut programs = load(&compiled(SSH_AND_DNS));
    let mut events = programs.take_events().unwrap().unwrap();
    programs.judge(Out, &udp(HOST, PEER, (5_000, 53))).unwrap();
    let generation = programs.apply(&compiled("")).unwrap();
    programs.judge(In, &udp(PEER, HOST, (53, 5_000))).unwrap();
    programs.judge(Out, &udp(HOST, PEER, (5_000, 53))).unwrap();
    programs.apply(&compiled(SSH_AND_DNS)).unwrap();
    programs.judge(In, &tcp("10.0.0.9", HOST, (1, 22), SYN)).unwrap();
    programs.judge(In, &[0; 20]).unwrap();
    let told = drain(&mut events);
    let kinds: Vec<_> = told.iter().map(|event| event.kind).collect();
    let expected = [
        EventKind::Start,
        EventKind::End(EndReason::Revoked),
        EventKind::Denial(DropReason::PolicyNoRule),
        EventKind::Denial(DropReason::PolicyDenied),
        EventKind::Denial(DropReason::PolicyNotIp),
    ];
    assert_eq!(kinds, expected);
    let directions: Vec<_> = told.iter().map(|event| event.direction).collect();
    assert_eq!(directions, [Out, Out, Out, In, In]);
    assert_eq!((told[0].rule, told[1].rule), (Some(RuleIndex(2)), Some(RuleIndex(2))));
    assert_eq!((told[2].key, told[2].rule), (key(17, 5_000, 53), None));
    assert_eq!(told[2].generation, generation);
    assert_eq!(told[3].rule, Some(RuleIndex(0)));
}

#[test]
fn a_flood_of_denials_is_counted_rather_than_told() {
    const DENIALS: u64 = 5_000;
    let mut programs = load(&compiled(""));
    let mut events = programs.take_events().unwrap().unwrap();
    for _ in 0..DENIALS {
        programs.judge(In, &udp(PEER, HOST, (1, 1))).unwrap();
    }
    let told = drain(&mut events).len() as u64;
    let losses = programs.losses().unwrap();
    let [(Loss::Suppressed, suppressed)] = losses[..] else { panic!("{losses:?}") };
    assert_eq!(told + suppressed, DENIALS);
    assert!(told >= 128, "{told}");
}

#[test]
fn a_flood_of_starts_is_sampled_and_what_is_lost_is_counted() {
    const FLOWS: u16 = 2_000;
    let mut programs =
        PolicyPrograms::load_with(&compiled(SSH_AND_DNS), EventsSize::new(16_384).unwrap())
            .unwrap();
    let mut events = programs.take_events().unwrap().unwrap();
    for port in 0..FLOWS {
        programs.judge(Out, &udp(HOST, PEER, (port, 53))).unwrap();
    }
    let told = drain(&mut events).len() as u64;
    let losses = programs.losses().unwrap();
    let lost = |loss| losses.iter().find(|(of, _)| *of == loss).map_or(0, |(_, count)| *count);
    let (sampled, full) = (lost(Loss::Sampled), lost(Loss::RingFull));
    assert_eq!(told + sampled + full, u64::from(FLOWS), "{losses:?}");
    // Half of the ring is told in full, of the rest one in sixteen, until it is full.
    assert!(told > 16_384 / 2 / 112 && sampled > 15 * full && full > 0, "{told} {losses:?}");
    assert!(EventsSize::new(12_288).is_err() && EventsSize::new(2_048).is_err());
}

#[test]
fn flows_are_listed_looked_up_and_forgotten() {
    let programs = load(&compiled(SSH_AND_DNS));
    programs.judge(Out, &udp(HOST, PEER, (5_000, 53))).unwrap();
    programs.judge(In, &udp(PEER, HOST, (53, 5_000))).unwrap();
    programs.judge(In, &tcp(PEER, HOST, (40_000, 22), SYN)).unwrap();
    let flows = programs.flows();
    let [(dns, question), (ssh, syn)] = flows[..] else { panic!("{flows:?}") };
    assert_eq!((dns, ssh), (key(17, 5_000, 53), key(6, 22, 40_000)));
    assert_eq!((question.opener(), question.answered()), (Opener::Host, true));
    assert_eq!((question.sent.packets, question.received.packets), (1, 1));
    assert_eq!((syn.opener(), syn.answered()), (Opener::Peer, false));

    let found = programs.lookup(&dns, Opener::Host).unwrap();
    assert_eq!((found.flow, found.generation), (Some(question), programs.generation()));
    assert_eq!(
        found.answer.ruling.map(|ruling| (ruling.rule().0, ruling.allows())),
        Some((2, true))
    );
    assert_eq!(found.counted.map(|counted| counted.packets), Some(1));
    let unknown = programs.lookup(&key(6, 23, 1), Opener::Peer).unwrap();
    assert_eq!((unknown.flow, unknown.answer.ruling, unknown.counted), (None, None, None));

    let later = |seconds: u64| Nanos(syn.seen.0 + seconds * 1_000_000_000);
    assert_eq!(programs.expire(later(100)), []);
    assert_eq!(programs.expire(later(241)), [(ssh, syn)]);
    assert_eq!(programs.expire(later(500)), [(dns, question)]);
    assert_eq!(programs.flows(), []);
}
