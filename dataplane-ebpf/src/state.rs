//! The shared verdict's view of the maps.

use core::hint::black_box;

use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::bpf_get_smp_processor_id};
use dataplane_common::{
    Base, Event, EventKind, ExactBucket, ExactKey, Flow, FlowKey, FlowTable, Found, Fragment, FragmentKey, Generation, Nanos,
    PolicyHead, PolicyTable, RuleIndex, Secret, StateTable, TableKey, TablePrefix, Traffic, counter_index, find_exact,
    in_own_frame,
};

use crate::{
    events, flows,
    maps::{EXACT, FRAGMENTS, HEADS, PREFIXES, RULES},
};

/// The policy in force. The generation is read once, and names the tables: so one packet sees one
/// policy, whatever comes into force meanwhile.
pub struct InForce {
    generation: Generation,
}

impl InForce {
    /// The policy of this moment.
    #[inline(always)]
    pub fn by(base: &Base) -> Self {
        Self { generation: base.generation }
    }

    #[inline(always)]
    fn head(&self) -> Option<&PolicyHead> {
        HEADS.get(self.generation.slot())
    }

    /// A bucket of the hash.
    #[inline(always)]
    fn bucket(&self, number: u32) -> Option<&ExactBucket> {
        let words = EXACT.get_value_ptr_mut(self.generation.slot(), &number)?;
        // SAFETY: an element of the map, of the same words. The tables of a policy are not written
        // while a program can see them.
        unsafe { words.cast::<ExactBucket>().as_ref() }
    }
}

impl PolicyTable for InForce {
    #[inline(always)]
    fn generation(&self) -> Generation {
        self.generation
    }

    #[inline(always)]
    fn exact(&self, key: &ExactKey) -> Option<Found> {
        let mut found = Found::NOTHING;
        match lookup_exact(self.generation.0, key, &mut found) {
            0 => None,
            _ => Some(found),
        }
    }

    #[inline(always)]
    fn fetch(&self, key: &ExactKey) {
        fetch_exact(self.generation.0, key);
    }

    #[inline(always)]
    fn count(&self, rule: RuleIndex, traffic: Traffic) {
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

// The kernel verifies these once, and not again with each call: see `flows`.

/// What the hash of a generation's policy has under a key; zero if nothing.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lookup_exact(generation: u32, key: *const ExactKey, found: *mut Found) -> u32 {
    // SAFETY: the verifier sees to it that they are null or can be used as what they are.
    let (Some(key), Some(found)) = (unsafe { key.as_ref() }, unsafe { found.as_mut() }) else {
        return 0;
    };
    let policy = InForce { generation: Generation(generation) };
    let Some(head) = policy.head() else { return 0 };
    match find_exact(head, key, |number| policy.bucket(number)) {
        Some(there) => {
            *found = there;
            1
        }
        None => 0,
    }
}

/// Reads from the bucket that most likely has the key, for the cache.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn fetch_exact(generation: u32, key: *const ExactKey) -> u32 {
    // SAFETY: as in `lookup_exact`.
    let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
    let policy = InForce { generation: Generation(generation) };
    let Some(head) = policy.head() else { return 0 };
    let [first, _] = head.seed.buckets(key, head.bucket_count);
    match policy.bucket(first) {
        Some(bucket) => u32::from(black_box(bucket.overflows())),
        None => 0,
    }
}

/// The flow and fragment maps.
pub struct Remembered<'a>(pub &'a Secret);

impl StateTable for Remembered<'_> {
    #[inline(always)]
    fn flow(&mut self, table: FlowTable, key: &FlowKey) -> Option<&mut Flow> {
        flows::find(table, key, self.0).map(|found| found.flow)
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
