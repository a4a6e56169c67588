//! The shared verdict's view of the maps.

use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::bpf_get_smp_processor_id};
use dataplane_common::{
    BucketWords, Event, EventKind, ExactBucket, ExactKey, Flow, FlowKey, FlowTable, Fragment, FragmentKey, Generation, Nanos,
    PolicyHead, PolicyTable, RuleIndex, StateTable, TableKey, TablePrefix, Traffic, counter_index, find_exact,
    in_own_frame,
};

use crate::{
    events, flows,
    maps::{EXACT, FRAGMENTS, GENERATION, HEADS, PREFIXES, RULES},
};

/// The policy in force. The generation is read once, and names the tables: so one packet sees one
/// policy, whatever comes into force meanwhile.
pub struct InForce {
    generation: Generation,
}

impl InForce {
    /// The policy of this moment.
    #[inline(always)]
    pub fn now() -> Self {
        let generation = match GENERATION.get(0) {
            Some(generation) => Generation(*generation),
            None => Generation(0),
        };
        Self { generation }
    }

    #[inline(always)]
    fn head(&self) -> Option<&PolicyHead> {
        HEADS.get(self.generation.slot())
    }

    #[inline(always)]
    fn find(&self, key: &ExactKey) -> Option<u64> {
        let head = self.head()?;
        let buckets = EXACT.get(self.generation.slot())?;
        find_exact(head, key, |number| {
            let words: *const BucketWords = buckets.get_ptr(number)?;
            // SAFETY: an element of the map, of the same words. The tables of a policy are not written
            // while a program can see them.
            unsafe { words.cast::<ExactBucket>().as_ref() }
        })
    }

    /// Counts what a rule decided.
    #[inline(always)]
    pub fn count(&self, rule: RuleIndex, traffic: Traffic) {
        let Some(head) = self.head() else { return };
        // SAFETY: the helper takes no arguments and only tells a number.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        let index = counter_index(cpu, head.rule_count, rule);
        if let Some(counter) = RULES.get_value_ptr_mut(self.generation.slot(), &index) {
            // SAFETY: the words of a `Traffic`, which has no others. The element is this CPU's own, and
            // a classifier is not preempted by another packet of the same CPU.
            unsafe { (*counter.cast::<Traffic>()).add(traffic) };
        }
    }
}

impl PolicyTable for InForce {
    #[inline(always)]
    fn generation(&self) -> Generation {
        self.generation
    }

    #[inline(always)]
    fn exact(&self, key: &ExactKey) -> Option<u64> {
        match lookup_exact(self.generation.0, key) {
            NOTHING => None,
            value => Some(value),
        }
    }

    #[inline(always)]
    fn longest(&self, prefix: &TablePrefix) -> Option<u32> {
        if !self.head()?.has_prefixes() {
            return None;
        }
        let value = in_own_frame(|| {
            let key: Key<TableKey> = Key::new(prefix.bits, prefix.key);
            PREFIXES.get(self.generation.slot())?.get(&key).map(|value| u64::from(*value))
        })?;
        Some((value & 0xffff_ffff) as u32)
    }
}

/// No value of the hash.
const NOTHING: u64 = u64::MAX;

/// The value of the hash of a generation's policy under a key. The kernel verifies it once, and not
/// again with each call.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lookup_exact(generation: u32, key: *const ExactKey) -> u64 {
    // SAFETY: the verifier sees to it that it is null or can be used as what it is.
    let Some(key) = (unsafe { key.as_ref() }) else { return NOTHING };
    let policy = InForce { generation: Generation(generation) };
    match policy.find(key) {
        Some(value) => value,
        None => NOTHING,
    }
}

/// The flow and fragment maps.
pub struct Remembered;

impl StateTable for Remembered {
    #[inline(always)]
    fn flow(&mut self, table: FlowTable, key: &FlowKey) -> Option<&mut Flow> {
        flows::find(table, key).map(|found| found.flow)
    }

    #[inline(always)]
    fn recall(&mut self, key: &FlowKey, copy: &mut Flow) -> Option<FlowTable> {
        FlowTable::of_number(flows::recall_flow(key, copy))
    }

    #[inline(always)]
    fn store_flow(&mut self, table: FlowTable, key: &FlowKey, flow: &Flow) {
        // Should it fail, the next packet is judged again.
        flows::store_flow(table.number(), key, flow);
    }

    #[inline(always)]
    fn remove_flow(&mut self, table: FlowTable, key: &FlowKey) {
        flows::remove_flow(table.number(), key);
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        // SAFETY: copied at once; otherwise as in `flow`.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn store_fragment(&mut self, key: &FragmentKey, fragment: &Fragment) {
        let _ = FRAGMENTS.insert(key, fragment, 0);
    }

    #[inline(always)]
    fn admit(&mut self, kind: EventKind, now: Nanos) -> bool {
        events::admit(kind, now)
    }

    #[inline(always)]
    fn tell(&mut self, event: &Event) {
        events::tell(event);
    }
}
