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

use crate::{Error, buckets::Buckets, error::chain, layout::Layout, mapped::Mapped, object};

pub(crate) type Exact = Array<MapData, BucketWords>;
pub(crate) type Prefixes = LpmTrie<MapData, [u8; size_of::<TableKey>()], u32>;
pub(crate) type RuleCounters = Array<MapData, [u64; 2]>;

/// The kernel wants it of every trie.
const BPF_F_NO_PREALLOC: u32 = 1;
/// Lets the arrays in the slots differ in size.
const BPF_F_INNER_MAP: u32 = 1 << 12;
/// Lets an array be mapped into memory, which fills it without a system call for each element.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Tables that no program sees yet.
pub(crate) struct Tables {
    exact: Exact,
    prefixes: Prefixes,
    counters: RuleCounters,
    head: PolicyHead,
}

impl Tables {
    /// Makes and fills the tables of a policy.
    pub(crate) fn fill(layout: &Layout) -> Result<Self, Error> {
        let failed = |map, action| move |error| map_error(map, action, &error);
        let (exact_name, prefixes_name) = (object::EXACT, object::PREFIXES);
        count(layout.exact.len(), MAX_EXACT)?;
        let prefix_count = count(layout.prefixes.len(), MAX_PREFIXES)?;

        let filled = Buckets::of(&layout.exact);
        let exact = Exact::create(filled.count(), BPF_F_INNER_MAP | BPF_F_MMAPABLE)
            .map_err(failed(exact_name, "create"))?;
        let words = filled.buckets.len() * BucketWords::default().len();
        let mapped = Mapped::of(exact_name, exact.map().fd(), words)?;
        let entries = filled.buckets.iter().flat_map(ExactBucket::to_words);
        for (place, word) in mapped.words().iter().zip(entries) {
            place.store(word, Relaxed);
        }
        let mut prefixes = Prefixes::create(prefix_count, BPF_F_NO_PREALLOC)
            .map_err(failed(prefixes_name, "create"))?;
        for (prefix, value) in &layout.prefixes {
            let key = Key::new(prefix.bits, prefix.key.0);
            prefixes.insert(&key, value, 0).map_err(failed(prefixes_name, "fill"))?;
        }
        let head = layout.head(&filled);
        let counters = RuleCounters::create(head.rule_count.max(1) * cpus()?, BPF_F_INNER_MAP)
            .map_err(failed(object::RULES, "create"))?;
        Ok(Self { exact, prefixes, counters, head })
    }

    /// Puts the tables in force as the generation after `current`, by one write at the end. Before
    /// that nothing is changed that a program sees, so an error leaves the old policy in force.
    ///
    /// To write a slot of a map of maps takes the kernel until every program that ran at that time
    /// has ended: some ten milliseconds, so the slots are written side by side.
    pub(crate) fn put_in_force(self, ebpf: &mut Ebpf, current: Generation) -> Result<(), Error> {
        let next = current.next();
        let [exact, prefixes, counters] =
            maps_mut(ebpf, [object::EXACT, object::PREFIXES, object::RULES])?;
        thread::scope(|scope| {
            let exact = scope.spawn(|| set_slot(object::EXACT, exact, next, &self.exact));
            let prefixes =
                scope.spawn(|| set_slot(object::PREFIXES, prefixes, next, &self.prefixes));
            let counters = set_slot(object::RULES, counters, next, &self.counters);
            [join(exact), join(prefixes), counters].into_iter().collect::<Result<(), _>>()
        })?;
        set(ebpf, object::HEADS, next.slot(), self.head.to_words())?;
        set(ebpf, object::GENERATION, 0, next.0)?;

        // A program that read the generation before this one uses the slots that the next change
        // fills. So wait for it, by writing once more what is there.
        let [counters] = maps_mut(ebpf, [object::RULES])?;
        set_slot(object::RULES, counters, next, &self.counters)
    }
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The generation in force.
pub(crate) fn generation(ebpf: &Ebpf) -> Result<Generation, Error> {
    get::<u32>(ebpf, object::GENERATION, 0).map(Generation)
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
