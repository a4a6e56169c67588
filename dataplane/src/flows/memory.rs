//! A table of flows in memory that the kernel's programs share.
#![allow(unsafe_code, reason = "memory is mapped and shared by system calls")]

use std::{
    ops::Range,
    os::fd::AsFd as _,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
        fence,
    },
};

use aya::maps::MapData;
use dataplane_common::{Flow, FlowKey, FlowPlace, FlowSet, Tag, WAYS};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::{Error, error::chain};

/// Words of a set: the tags, then the places.
const SET: usize = size_of::<FlowSet>() / size_of::<u64>();
const PLACE: usize = size_of::<FlowPlace>() / size_of::<u64>();
/// Where the places begin.
const PLACES: usize = SET - WAYS * PLACE;

/// The sets of a table, as words that may change at any time.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<AtomicU64>,
    sets: usize,
}

// SAFETY: the memory is shared with the kernel anyhow, belongs to no thread, and is only reached by
// atomic words.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

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
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        let fd = map.fd().as_fd();
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let mapped = unsafe {
            mmap(ptr::null_mut(), sets * size_of::<FlowSet>(), flags, MapFlags::SHARED, fd, 0)
        };
        let start = mapped.map_err(|error| Error::Map {
            map: name,
            action: "map into memory",
            reason: chain(&error),
        })?;
        let reason = || "it has no address".to_owned();
        let start = NonNull::new(start.cast()).ok_or_else(|| Error::Map {
            map: name,
            action: "map into memory",
            reason: reason(),
        })?;
        Ok(Self { start, sets })
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
        // SAFETY: the mapping is so long, stays as long as this, and is only used by atomic words.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.sets * SET) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: nothing of the mapping is borrowed any more. If it cannot be undone it just stays.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.sets * size_of::<FlowSet>()) };
    }
}

fn copied<const N: usize>(words: &[AtomicU64]) -> [u64; N] {
    let mut copy = [0; N];
    for (to, from) in copy.iter_mut().zip(words) {
        *to = from.load(Relaxed);
    }
    copy
}
