//! The shared verdict's view of the maps.

use aya_ebpf::btf_maps::lpm_trie::Key;
use dataplane_common::{
    Address, Class, Flow, FlowKey, Fragment, FragmentKey, Generation, Identity, PolicyTable,
    RuleIndex, RuleKey, StateTable, TableKey, TablePrefix, in_own_frame,
};

use crate::maps::{FLOWS, FRAGMENTS, GENERATION, POLICY, PolicyTrie};

/// The policy in force. Holding the trie rather than looking it up each time makes one packet see
/// one policy, whatever is swapped meanwhile.
pub struct InForce {
    generation: Generation,
    trie: Option<&'static PolicyTrie>,
}

impl InForce {
    /// Reads the generation first: the loader writes it last.
    #[inline(always)]
    pub fn now() -> Self {
        let generation = match GENERATION.get(0) {
            Some(generation) => Generation(*generation),
            None => Generation(0),
        };
        Self { generation, trie: POLICY.get(0) }
    }

    #[inline(always)]
    fn find(&self, prefix: TablePrefix) -> Option<u32> {
        // Three keys side by side would not fit the stack.
        in_own_frame(|| {
            let key: Key<TableKey> = Key::new(prefix.bits, prefix.key);
            self.trie?.get(&key).copied()
        })
    }
}

impl PolicyTable for InForce {
    #[inline(always)]
    fn generation(&self) -> Generation {
        self.generation
    }

    #[inline(always)]
    fn identity(&self, source: &Address) -> Identity {
        match self.find(TablePrefix::identity(*source, 128)) {
            Some(identity) => Identity(identity),
            None => Identity::NONE,
        }
    }

    #[inline(always)]
    fn class(&self, destination: &Address) -> Class {
        match self.find(TablePrefix::class(*destination, 128)) {
            Some(class) => Class(class),
            None => Class::NONE,
        }
    }

    #[inline(always)]
    fn rule(&self, key: &RuleKey) -> Option<RuleIndex> {
        self.find(TablePrefix::rule(*key, 16)).map(RuleIndex)
    }
}

/// The flow and fragment maps.
pub struct Remembered;

impl StateTable for Remembered {
    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        // SAFETY: copied at once. The kernel may hand an evicted element to another key meanwhile;
        // then one packet is judged by that key's flow, which the LRU map's users must bear.
        unsafe { FLOWS.get(key) }.copied()
    }

    #[inline(always)]
    fn store_flow(&mut self, key: &FlowKey, flow: Flow) {
        // A full table evicts its oldest flow; should even that fail, the next packet is judged
        // again.
        let _ = FLOWS.insert(key, flow, 0);
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        // SAFETY: as in `flow`.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn store_fragment(&mut self, key: &FragmentKey, fragment: Fragment) {
        let _ = FRAGMENTS.insert(key, fragment, 0);
    }
}
