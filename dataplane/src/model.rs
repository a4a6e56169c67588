//! The policy without a kernel: the same verdict over tables in memory.

use std::collections::HashMap;

use dataplane_common::{
    Address, Class, Direction, Flow, FlowKey, Fragment, FragmentKey, Generation, Identity, Nanos,
    PolicyTable, RuleIndex, RuleKey, StateTable, TableKey, TablePrefix, Verdict, verdict,
};
use policy::Compiled;

use crate::tables;

/// What the kernel's programs and maps do, done in memory: to explain a verdict, and to hold the
/// kernel to it in tests. It never forgets a flow for want of room.
#[derive(Debug, Default)]
pub struct Model {
    policy: Policy,
    state: State,
}

#[derive(Debug)]
struct Policy {
    generation: Generation,
    table: HashMap<(u32, TableKey), u32>,
}

#[derive(Debug, Default)]
struct State {
    flows: HashMap<FlowKey, Flow>,
    fragments: HashMap<FragmentKey, Fragment>,
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
        self.policy = Policy {
            generation: Generation(self.policy.generation.0.checked_add(1).unwrap_or(1)),
            table: tables::entries(compiled)
                .map(|(prefix, value)| ((prefix.bits, prefix.key), value))
                .collect(),
        };
    }

    /// Judges a packet, from its IP header on.
    pub fn judge(&mut self, direction: Direction, packet: &[u8], now: Nanos) -> Verdict {
        verdict(packet, direction, now, &self.policy, &mut self.state)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self { generation: Generation(0), table: HashMap::new() }
    }
}

impl Policy {
    fn longest(&self, full: TablePrefix) -> Option<u32> {
        (0..=full.bits)
            .rev()
            .find_map(|bits| self.table.get(&(bits, leading(full.key, bits))).copied())
    }
}

/// The key with all but its leading bits cleared.
fn leading(TableKey(mut bytes): TableKey, bits: u32) -> TableKey {
    for (start, byte) in (0u32..).step_by(8).zip(&mut bytes) {
        let kept = bits.saturating_sub(start).min(8);
        *byte &= u8::MAX.checked_shl(8 - kept).unwrap_or(0);
    }
    TableKey(bytes)
}

impl PolicyTable for Policy {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn identity(&self, source: &Address) -> Identity {
        self.longest(TablePrefix::identity(*source, 128)).map_or(Identity::NONE, Identity)
    }

    fn class(&self, destination: &Address) -> Class {
        self.longest(TablePrefix::class(*destination, 128)).map_or(Class::NONE, Class)
    }

    fn rule(&self, key: &RuleKey) -> Option<RuleIndex> {
        self.longest(TablePrefix::rule(*key, 16)).map(RuleIndex)
    }
}

impl StateTable for State {
    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.get(key).copied()
    }

    fn store_flow(&mut self, key: &FlowKey, flow: Flow) {
        self.flows.insert(*key, flow);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        self.fragments.get(key).copied()
    }

    fn store_fragment(&mut self, key: &FragmentKey, fragment: Fragment) {
        self.fragments.insert(*key, fragment);
    }
}
