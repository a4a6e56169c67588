//! The policy without a kernel: the same verdict over tables in memory.

use std::{collections::HashMap, mem};

use dataplane_common::{
    Direction, Event, EventKind, Flow, FlowKey, FlowTable, Fragment, FragmentKey, Nanos,
    PolicyTable, StateTable, Traffic, Verdict, verdict,
};
use policy::Compiled;

use crate::MemoryTables;

/// What the kernel's programs and maps do, done in memory: to explain a verdict, and to hold the
/// kernel to it in tests. It never forgets a flow for want of room.
#[derive(Debug, Default)]
pub struct Model {
    policy: MemoryTables,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    answered: HashMap<FlowKey, Flow>,
    opening: HashMap<FlowKey, Flow>,
    fragments: HashMap<FragmentKey, Fragment>,
    events: Vec<Event>,
}

impl Model {
    /// A model with a policy in force.
    #[must_use]
    pub fn new(compiled: &Compiled) -> Self {
        let mut model = Self::default();
        model.apply(compiled);
        model
    }

    /// Puts another policy in force.
    pub fn apply(&mut self, compiled: &Compiled) {
        self.policy = MemoryTables::new(compiled, self.policy.generation().next());
    }

    /// What was told since the last call: all, as nothing presses.
    pub fn take_events(&mut self) -> Vec<Event> {
        mem::take(&mut self.state.events)
    }

    /// The flows that one of the tables remembers, in no order.
    pub fn flows(&self, table: FlowTable) -> impl Iterator<Item = &Flow> {
        match table {
            FlowTable::Answered => self.state.answered.values(),
            FlowTable::Opening => self.state.opening.values(),
        }
    }

    /// Judges a packet, from its IP header on.
    pub fn judge(&mut self, direction: Direction, packet: &[u8], now: Nanos) -> Verdict {
        let traffic = Traffic { packets: 1, bytes: packet.len() as u64 };
        verdict(packet, traffic, direction, &now, &self.policy, &mut self.state)
    }
}

impl State {
    fn table(&mut self, table: FlowTable) -> &mut HashMap<FlowKey, Flow> {
        match table {
            FlowTable::Answered => &mut self.answered,
            FlowTable::Opening => &mut self.opening,
        }
    }
}

impl StateTable for State {
    fn flow(&mut self, table: FlowTable, key: &FlowKey) -> Option<&mut Flow> {
        self.table(table).get_mut(key)
    }

    fn store_flow(&mut self, table: FlowTable, key: &FlowKey, flow: &Flow) {
        self.table(table).insert(*key, *flow);
    }

    fn remove_flow(&mut self, table: FlowTable, key: &FlowKey) {
        self.table(table).remove(key);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        self.fragments.get(key).copied()
    }

    fn store_fragment(&mut self, key: &FragmentKey, fragment: &Fragment) {
        self.fragments.insert(*key, *fragment);
    }

    fn admit(&mut self, _: EventKind, _: Nanos) -> bool {
        true
    }

    fn tell(&mut self, event: &Event) {
        self.events.push(*event);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

    use std::cell::Cell;

    use dataplane_common::{Clock, Generation, Tick};
    use policy::Document;
    use proptest::prelude::*;

    use super::*;

    /// As the kernel's coarse clock: it moves with the ticks.
    struct Ticking {
        tick: u64,
        reads: Cell<u32>,
    }

    impl Clock for Ticking {
        fn tick(&self) -> Tick {
            Tick(u32::try_from(self.tick & 0xffff_ffff).unwrap())
        }

        fn now(&self) -> Nanos {
            self.reads.set(self.reads.get() + 1);
            Nanos(self.tick * 4_000_000)
        }
    }

    /// A packet of a flow of UDP.
    fn packet(direction: Direction) -> [u8; 28] {
        let mut packet = [0; 28];
        packet[..10].copy_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17]);
        let (host, peer) = (([10, 0, 0, 2], 7_u16), ([10, 0, 0, 1], 9));
        let (from, to) = match direction {
            Direction::In => (peer, host),
            Direction::Out => (host, peer),
        };
        packet[12..16].copy_from_slice(&from.0);
        packet[16..20].copy_from_slice(&to.0);
        packet[20..22].copy_from_slice(&from.1.to_be_bytes());
        packet[22..24].copy_from_slice(&to.1.to_be_bytes());
        packet
    }

    fn tables(document: &str) -> MemoryTables {
        let document = Document::parse(document).unwrap();
        MemoryTables::new(&policy::compile(&document).unwrap(), Generation(1))
    }

    const OPEN: &str =
        r#"{ "acls": [{ "action": "accept", "src": ["10.0.0.1"], "dst": ["*:*"] }] }"#;

    proptest! {
        /// Pauses of no tick, of some, and of longer than any flow of UDP lasts.
        #[test]
        fn a_clock_that_is_not_read_tells_the_same(
            steps in prop::collection::vec(
                (any::<bool>(), prop_oneof![4 => 0..2_u64, 2 => 2..9_000_u64, 1 => 70_000..90_000_u64]),
                1..40,
            ),
        ) {
            let policy = tables(OPEN);
            let (mut lazy, mut read) = (State::default(), State::default());
            let mut tick = 1_000;
            for (inward, pause) in steps {
                tick += pause;
                let direction = if inward { Direction::In } else { Direction::Out };
                let packet = packet(direction);
                let traffic = Traffic { packets: 1, bytes: 28 };
                let clock = Ticking { tick, reads: Cell::new(0) };
                let now = clock.now();
                let told = verdict(&packet[..], traffic, direction, &clock, &policy, &mut lazy);
                prop_assert_eq!(
                    told,
                    verdict(&packet[..], traffic, direction, &now, &policy, &mut read)
                );
                prop_assert_eq!(&lazy.events, &read.events);
            }
        }
    }

    #[test]
    fn the_clock_is_read_once_a_tick() {
        let policy = tables(OPEN);
        let mut state = State::default();
        let clock = Ticking { tick: 5, reads: Cell::new(0) };
        let mut judge = |direction| {
            let traffic = Traffic { packets: 1, bytes: 28 };
            verdict(&packet(direction)[..], traffic, direction, &clock, &policy, &mut state)
        };
        for direction in [Direction::In, Direction::Out, Direction::In] {
            assert!(matches!(judge(direction), Verdict::Allow { .. }));
        }
        let reads = clock.reads.get();
        for _ in 0..9 {
            judge(Direction::In);
        }
        assert_eq!(clock.reads.get(), reads);
    }
}
