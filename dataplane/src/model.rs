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
        verdict(packet, traffic, direction, now, &self.policy, &mut self.state)
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
