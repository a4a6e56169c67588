//! A table of flows in memory that the kernel's programs share.

use std::{
    ops::Range,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
        fence,
    },
};

use aya::maps::MapData;
use dataplane_common::{Flow, FlowKey, FlowPlace, FlowSet, Tag, WAYS};

use crate::{Error, mapped::Mapped};

/// Words of a set: the tags, then the places.
const SET: usize = size_of::<FlowSet>() / size_of::<u64>();
const PLACE: usize = size_of::<FlowPlace>() / size_of::<u64>();
/// Where the places begin.
const PLACES: usize = SET - WAYS * PLACE;

/// The sets of a table.
#[derive(Debug)]
pub(super) struct Memory {
    mapped: Mapped,
    sets: usize,
}

/// A flow as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: FlowKey,
    pub(super) flow: Flow,
    tag: Tag,
    way: usize,
    /// The index of its word of tags.
    at: usize,
}

impl Memory {
    /// Maps a table of so many sets.
    pub(super) fn of(name: &'static str, map: &MapData, sets: u32) -> Result<Self, Error> {
        let sets = usize::try_from(sets).unwrap_or(0);
        Ok(Self { mapped: Mapped::of(name, map.fd(), sets * SET)?, sets })
    }

    /// The flows of some sets. One that a packet puts in place of another meanwhile is left out.
    pub(super) fn flows(&self, sets: Range<usize>) -> impl Iterator<Item = Found> {
        let sets = sets.start.min(self.sets)..sets.end.min(self.sets);
        sets.flat_map(move |set| (0..WAYS).filter_map(move |way| self.read(set, way)))
    }

    fn read(&self, set: usize, way: usize) -> Option<Found> {
        let words = self.words();
        let at = set * SET + FlowSet::word(way);
        let tag = FlowSet::tag_in(words[at].load(Acquire), way);
        if !tag.is_taken() {
            return None;
        }
        let place = set * SET + PLACES + way * PLACE;
        let (key, flow) = words[place..place + PLACE].split_at(size_of::<FlowKey>() / 8);
        let key = FlowKey::from_words(copied(key));
        let flow = Flow::from_words(copied(flow));
        fence(Acquire);
        let still = FlowSet::tag_in(words[at].load(Relaxed), way) == tag;
        still.then_some(Found { key, flow, tag, way, at })
    }

    /// Forgets a flow; false if another has its place by now.
    pub(super) fn remove(&self, found: &Found) -> bool {
        let free = |tags| {
            let same = FlowSet::tag_in(tags, found.way) == found.tag;
            same.then_some(tags ^ found.tag.change(Tag::FREE, found.way))
        };
        self.words()[found.at].fetch_update(AcqRel, Relaxed, free).is_ok()
    }

    fn words(&self) -> &[AtomicU64] {
        self.mapped.words()
    }
}

fn copied<const N: usize>(words: &[AtomicU64]) -> [u64; N] {
    let mut copy = [0; N];
    for (to, from) in copy.iter_mut().zip(words) {
        *to = from.load(Relaxed);
    }
    copy
}
