//! Events through the ring buffer, and how fast they are told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::IpAddr;

use dataplane_common::{
    Address, DENIALS_PER_SECOND, Direction, DropReason, EndReason, Event, EventKind, EventWords,
    FlowKey, Generation, Loss, Nanos, Pace, RuleIndex, STARTS_PER_SAMPLE, Traffic,
};
use proptest::prelude::*;

fn kinds() -> Vec<EventKind> {
    let ends = [EndReason::Closed, EndReason::Expired, EndReason::Revoked].map(EventKind::End);
    let denials = DropReason::ALL.map(EventKind::Denial);
    [EventKind::Start].into_iter().chain(ends).chain(denials).collect()
}

proptest! {
    #[test]
    fn events_survive_the_ring(
        kind in prop::sample::select(kinds()),
        out in any::<bool>(),
        ends in any::<[([u8; 16], u16); 2]>(),
        protocol in any::<u8>(),
        numbers in any::<[u64; 6]>(),
        rule in prop::option::of(0..u32::MAX),
        generation in any::<u32>(),
    ) {
        let [host, peer] = ends.map(|(address, port)| (Address::from_bytes(address), port));
        let [at, opened, a, b, c, d] = numbers;
        let event = Event {
            kind,
            at: Nanos(at),
            direction: if out { Direction::Out } else { Direction::In },
            key: FlowKey::new(protocol, host, peer),
            generation: Generation(generation),
            rule: rule.map(RuleIndex),
            opened: Nanos(opened),
            sent: Traffic { packets: a, bytes: b },
            received: Traffic { packets: c, bytes: d },
        };
        prop_assert_eq!(Event::from_words(event.to_words()), Some(event));
    }

    #[test]
    fn any_words_are_an_event_or_none(words in any::<EventWords>()) {
        if let Some(event) = Event::from_words(words) {
            prop_assert_eq!(Event::from_words(event.to_words()), Some(event));
        }
    }

    #[test]
    fn addresses_survive(address in any::<IpAddr>()) {
        prop_assert_eq!(IpAddr::from(Address::from(address)), address.to_canonical());
    }
}

#[test]
fn denials_come_in_a_burst_and_then_evenly() {
    let denial = EventKind::Denial(DropReason::PolicyNoRule);
    let mut pace = Pace::default();
    let mut told = |now: Nanos| {
        (0..10_000).filter(|_| pace.admit(denial, now, false) == Ok(())).count() as u64
    };
    let begin = 1_000_000_000_000;
    assert_eq!(told(Nanos(begin)), DENIALS_PER_SECOND);
    assert_eq!(told(Nanos(begin)), 0);
    assert_eq!(told(Nanos(begin + 500_000_000)), DENIALS_PER_SECOND / 2);
    assert_eq!(told(Nanos(begin + 3_600_000_000_000)), DENIALS_PER_SECOND);
}

#[test]
fn starts_are_sampled_only_under_pressure() {
    let mut pace = Pace::default();
    let mut told = |pressed| {
        let admitted = (0..1_600).map(|_| pace.admit(EventKind::Start, Nanos(0), pressed));
        let (told, lost): (Vec<_>, Vec<_>) = admitted.partition(Result::is_ok);
        assert!(lost.iter().all(|loss| *loss == Err(Loss::Sampled)));
        told.len() as u64
    };
    assert_eq!(told(false), 1_600);
    assert_eq!(told(true), 1_600 / STARTS_PER_SAMPLE);
    let end = EventKind::End(EndReason::Closed);
    assert!((0..1_000).all(|_| pace.admit(end, Nanos(0), true) == Ok(())));
}
