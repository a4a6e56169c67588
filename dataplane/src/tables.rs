//! The tables of policies in the kernel: two slots for each kind, and the generation that names the
//! slot in force.

use std::{sync::atomic::Ordering::Relaxed, thread};

use aya::{
    Ebpf, Pod,
    maps::{
        Array, ArrayOfMaps, FromMapData, InnerMap, IterableMap as _, LpmTrie, Map, MapData,
        MapError, lpm_trie::Key,
    },
    util::nr_cpus,
};
use dataplane_common::{
    BucketWords, ExactBucket, Generation, MAX_EXACT, MAX_PREFIXES, PolicyHead, TableKey,
};

use crate::{
    Error, base::SharedBase, buckets::Buckets, error::chain, layout::Layout, mapped::Mapped, object,
};

pub(crate) type Exact = Array<MapData, BucketWords>;
pub(crate) type Prefixes = LpmTrie<MapData, [u8; size_of::<TableKey>()], u32>;
pub(crate) type RuleCounters = Array<MapData, [u64; 2]>;

/// The kernel wants it of every trie.
const BPF_F_NO_PREALLOC: u32 = 1;
/// Lets the arrays in the slots differ in size.
const BPF_F_INNER_MAP: u32 = 1 << 12;
/// Lets an array be mapped into memory, which fills it without a system call for each element.
const BPF_F_MMAPABLE: u32 = 1 << 10;
/// Elements that cost too little to give them back.
const SMALL: u32 = 1 << 12;

/// Tables that no program sees yet.
pub(crate) struct Tables {
    exact: Table<BucketWords>,
    /// None if it would be empty: then no program looks.
    prefixes: Option<Prefixes>,
    counters: Table<[u64; 2]>,
    head: PolicyHead,
}

/// An array, and whether it is not in its slot yet.
struct Table<V: Pod> {
    array: Array<MapData, V>,
    is_new: bool,
}

impl Tables {
    /// Fills the tables of a policy. What is in the slots of generation `spare`, which no program uses,
    /// is filled anew where it has room enough.
    pub(crate) fn fill(
        ebpf: &Ebpf,
        layout: &Layout,
        spare: Option<Generation>,
    ) -> Result<Self, Error> {
        let (exact_name, prefixes_name) = (object::EXACT, object::PREFIXES);
        count(layout.exact.len(), MAX_EXACT)?;
        let prefix_count = count(layout.prefixes.len(), MAX_PREFIXES)?;

        let filled = Buckets::of(&layout.exact);
        let exact = Table::with_room(ebpf, exact_name, spare, filled.count())?;
        exact.write(exact_name, filled.buckets.iter().map(ExactBucket::to_words))?;

        let failed = |action| move |error| map_error(prefixes_name, action, &error);
        let mut prefixes = None;
        if !layout.prefixes.is_empty() {
            let trie =
                Prefixes::create(prefix_count, BPF_F_NO_PREALLOC).map_err(failed("create"))?;
            let trie = prefixes.insert(trie);
            for (prefix, value) in &layout.prefixes {
                let key = Key::new(prefix.bits, prefix.key.0);
                trie.insert(&key, value, 0).map_err(failed("fill"))?;
            }
        }
        let head = layout.head(&filled);
        let counter_count = head.rule_count.max(1) * cpus()?;
        let counters = Table::with_room(ebpf, object::RULES, spare, counter_count)?;
        counters.write(object::RULES, (0..counter_count).map(|_| [0; 2]))?;
        Ok(Self { exact, prefixes, counters, head })
    }

    /// Puts the tables in force as the next generation, by one write at the end. Before that nothing
    /// is changed that a program sees, so an error leaves the old policy in force.
    ///
    /// To write a slot of a map of maps takes the kernel until every program that ran at that time
    /// has ended: some ten milliseconds. So that is done for what is not there yet only, and side by side.
    pub(crate) fn put_in_force(self, ebpf: &mut Ebpf, base: &SharedBase) -> Result<(), Error> {
        let next = base.generation().next();
        let [exact, prefixes, counters] =
            maps_mut(ebpf, [object::EXACT, object::PREFIXES, object::RULES])?;
        thread::scope(|scope| {
            let fresh = self.exact.is_new;
            let exact = fresh.then(|| scope.spawn(|| self.exact.put(object::EXACT, exact, next)));
            let prefixes = self
                .prefixes
                .as_ref()
                .map(|trie| scope.spawn(|| set_slot(object::PREFIXES, prefixes, next, trie)));
            let counters = self.counters.put(object::RULES, counters, next);
            let others = [exact, prefixes].into_iter().flatten().map(join);
            others.chain([counters]).collect::<Result<(), _>>()
        })?;
        set(ebpf, object::HEADS, next.slot(), self.head.to_words())?;
        base.put_in_force(next);

        // A program that read the generation before this one uses the slots that the next change
        // fills. So wait for it, by writing once more what is there.
        let [counters] = maps_mut(ebpf, [object::RULES])?;
        set_slot(object::RULES, counters, next, &self.counters.array)
    }
}

impl<V: Pod> Table<V> {
    /// One with room for so many: that in the slot of generation `spare`, unless it is too small, or
    /// larger than is reasonable.
    fn with_room(
        ebpf: &Ebpf,
        name: &'static str,
        spare: Option<Generation>,
        count: u32,
    ) -> Result<Self, Error> {
        // Before the second policy there is none in the spare slot.
        if let Some(spare) = spare
            && let Ok(array) = slot::<Array<MapData, V>>(ebpf, name, spare)
        {
            let info = array.map().info().map_err(|error| map_error(name, "size", &error))?;
            let reasonable = count..=count.saturating_mul(4).max(SMALL);
            if reasonable.contains(&info.max_entries()) {
                return Ok(Self { array, is_new: false });
            }
        }
        // Some more, for what the next changes add.
        let room = count.saturating_add(count / 8).max(SMALL / 4);
        let array = Array::create(room, BPF_F_INNER_MAP | BPF_F_MMAPABLE)
            .map_err(|error| map_error(name, "create", &error))?;
        Ok(Self { array, is_new: true })
    }

    /// Puts it into the generation's slot, unless it is there.
    fn put(
        &self,
        name: &'static str,
        slots: &mut Map,
        generation: Generation,
    ) -> Result<(), Error> {
        if self.is_new { set_slot(name, slots, generation, &self.array) } else { Ok(()) }
    }

    /// Writes its first elements, each of so many words.
    fn write<const N: usize>(
        &self,
        name: &'static str,
        elements: impl ExactSizeIterator<Item = [u64; N]>,
    ) -> Result<(), Error> {
        let mapped = Mapped::of(name, self.array.map().fd(), elements.len() * N)?;
        for (place, word) in mapped.words().iter().zip(elements.flatten()) {
            place.store(word, Relaxed);
        }
        Ok(())
    }
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The head of a generation's policy.
pub(crate) fn head(ebpf: &Ebpf, generation: Generation) -> Result<PolicyHead, Error> {
    get(ebpf, object::HEADS, generation.slot()).map(PolicyHead::from_words)
}

/// The hosts and rules of a generation.
pub(crate) fn exact(ebpf: &Ebpf, generation: Generation) -> Result<Exact, Error> {
    slot(ebpf, object::EXACT, generation)
}

/// The prefixes of a generation.
pub(crate) fn prefixes(ebpf: &Ebpf, generation: Generation) -> Result<Prefixes, Error> {
    slot(ebpf, object::PREFIXES, generation)
}

/// The counters of a generation's rules.
pub(crate) fn counters(ebpf: &Ebpf, generation: Generation) -> Result<RuleCounters, Error> {
    slot(ebpf, object::RULES, generation)
}

/// How many CPUs have counters of their own.
pub(crate) fn cpus() -> Result<u32, Error> {
    let failed = |reason| Error::Map { map: object::RULES, action: "size", reason };
    let cpus = nr_cpus().map_err(|(file, error)| failed(format!("{file}: {error}")))?;
    u32::try_from(cpus).map_err(|error| failed(error.to_string()))
}

/// An error about a map.
pub(crate) fn map_error(map: &'static str, action: &'static str, error: &MapError) -> Error {
    Error::Map { map, action, reason: chain(error) }
}

fn count(entries: usize, limit: u32) -> Result<u32, Error> {
    match u32::try_from(entries) {
        Ok(count) if count <= limit => Ok(count.max(1)),
        _ => Err(Error::TooLarge { entries, limit }),
    }
}

fn slot<M: FromMapData + InnerMap>(
    ebpf: &Ebpf,
    name: &'static str,
    generation: Generation,
) -> Result<M, Error> {
    let map = ebpf.map(name).ok_or(Error::Object { name })?;
    let slots = ArrayOfMaps::<&MapData, M>::try_from(map).map_err(|_| Error::Object { name })?;
    slots.get(&generation.slot(), 0).map_err(|error| map_error(name, "read a slot of", &error))
}

/// The maps of these names.
fn maps_mut<'e, const N: usize>(
    ebpf: &'e mut Ebpf,
    names: [&'static str; N],
) -> Result<[&'e mut Map; N], Error> {
    let mut found = names.map(|_| None);
    for (name, map) in ebpf.maps_mut() {
        if let Some(index) = names.iter().position(|wanted| *wanted == name) {
            found[index] = Some(map);
        }
    }
    let missing = found.iter().position(Option::is_none);
    match missing {
        Some(index) => Err(Error::Object { name: names[index] }),
        None => Ok(found.map(|map| map.expect("none is missing"))),
    }
}

fn set_slot<M: InnerMap>(
    name: &'static str,
    map: &mut Map,
    generation: Generation,
    inner: &M,
) -> Result<(), Error> {
    let mut slots =
        ArrayOfMaps::<&mut MapData, M>::try_from(map).map_err(|_| Error::Object { name })?;
    slots
        .set(generation.slot(), inner, 0)
        .map_err(|error| map_error(name, "write a slot of", &error))
}

fn get<V: Pod>(ebpf: &Ebpf, name: &'static str, index: u32) -> Result<V, Error> {
    let map = ebpf.map(name).ok_or(Error::Object { name })?;
    let array = Array::<&MapData, V>::try_from(map).map_err(|_| Error::Object { name })?;
    array.get(&index, 0).map_err(|error| map_error(name, "read", &error))
}

fn set<V: Pod>(ebpf: &mut Ebpf, name: &'static str, index: u32, value: V) -> Result<(), Error> {
    let map = ebpf.map_mut(name).ok_or(Error::Object { name })?;
    let mut array = Array::<&mut MapData, V>::try_from(map).map_err(|_| Error::Object { name })?;
    array.set(index, value, 0).map_err(|error| map_error(name, "write", &error))
}
