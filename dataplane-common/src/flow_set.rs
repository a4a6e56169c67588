//! Where flows lie in the kernel's memory.
//!
//! A table is an array of sets. The hash of a flow leads to two sets, either of which may hold it, so
//! that the sets fill evenly (Mitzenmacher, "The power of two choices"): a table takes three
//! quarters of its places before a flow displaces another. Which one goes then is the kernel half's
//! business, but no peer may take more than half of the places that another's flows could have. A set has a tag of sixteen bits for each of its
//! places, and all are compared at once. The kernel's own hash would take its time for each word of a
//! key, and one more call; and its verifier goes through all that follows a comparison of a single tag
//! once more.

use core::hint::black_box;

use crate::{Address, Flow, FlowKey, Nanos};

/// How many flows a set holds.
pub const WAYS: usize = 8;
/// How many tags a word holds.
const LANES: usize = 4;

/// A one in each lane.
const ONES: u64 = 0x0001_0001_0001_0001;

/// Whose a place is. In one set, no two flows have one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Tag(u64);

impl Tag {
    /// Nobody's.
    pub const FREE: Self = Self(0);
    /// It is being written.
    pub const BUSY: Self = Self(1);
    /// A flow's, with fifteen bits of its hash.
    const TAKEN: u64 = 1 << 15;

    /// Whether a flow has the place.
    #[inline(always)]
    #[must_use]
    pub const fn is_taken(self) -> bool {
        self.0 & Self::TAKEN != 0
    }

    /// What makes this tag the other one, in a place's word of tags, by an exclusive or.
    #[inline(always)]
    #[must_use]
    pub const fn change(self, other: Self, way: usize) -> u64 {
        (self.0 ^ other.0) << (way % LANES * 16)
    }
}

/// Some flows whose hashes lead here.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct FlowSet {
    /// The places' tags, from the lowest bits of the first word on.
    pub tags: [u64; WAYS / LANES],
    /// The flows.
    pub places: [FlowPlace; WAYS],
}

/// One flow in its place.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct FlowPlace {
    /// Which it is.
    pub key: FlowKey,
    /// What is remembered of it.
    pub flow: Flow,
}

const _: () = assert!(size_of::<FlowPlace>() == 104);
const _: () = assert!(size_of::<FlowSet>() == 848);

impl FlowSet {
    /// The first place with this tag.
    #[inline(always)]
    #[must_use]
    pub const fn way(&self, tag: Tag) -> Option<usize> {
        let [first, second] = self.tags;
        match (equal(first, tag), equal(second, tag)) {
            (0, 0) => None,
            (0, lanes) => Some(LANES + lowest(lanes)),
            (lanes, _) => Some(lowest(lanes)),
        }
    }

    /// In which word of tags the place has its own.
    #[inline(always)]
    #[must_use]
    pub const fn word(way: usize) -> usize {
        way / LANES % (WAYS / LANES)
    }

    /// The tag of a place.
    #[inline(always)]
    #[must_use]
    pub const fn tag(&self, way: usize) -> Tag {
        Self::tag_in(self.tags[Self::word(way)], way)
    }

    /// The tag of a place, in its word.
    #[inline(always)]
    #[must_use]
    pub const fn tag_in(word: u64, way: usize) -> Tag {
        Tag(word >> (way % LANES * 16) & 0xffff)
    }

    /// Whether one more flow had better go to the second of its sets: not as long as there is room in
    /// the first, which is looked into first.
    #[inline(always)]
    #[must_use]
    pub const fn gives_way_to(&self, second: &Self) -> bool {
        let taken = self.taken();
        taken > WAYS as u64 / 4 && second.taken() < taken
    }

    /// How many places have flows.
    #[inline(always)]
    const fn taken(&self) -> u64 {
        let [first, second] = self.tags;
        let each = (first >> 15 & ONES) + (second >> 15 & ONES);
        each.wrapping_mul(ONES) >> 48
    }

    /// How many of the places have flows with this peer, or had when they were freed.
    #[inline(always)]
    #[must_use]
    pub fn flows_with(&self, peer: &Address) -> u64 {
        let others =
            (0..WAYS).fold(0, |others, way| black_box(others + self.is_of_other(way, peer)));
        WAYS as u64 - others
    }

    /// When the flow in a place was last renewed; as if it were now, when it is of another than the
    /// peer whose own it is to be.
    #[inline(always)]
    #[must_use]
    pub const fn seen(&self, way: usize, peer: &Address, own: bool) -> Nanos {
        let passed_over = (self.is_of_other(way, peer) & own as u64).wrapping_neg();
        Nanos(self.places[way % WAYS].flow.seen.0 | passed_over)
    }

    /// One if the flow in a place is with another peer than this. No branch, nor anything of which the
    /// compiler makes one: the kernel's verifier would go through all that follows once for each.
    #[inline(always)]
    const fn is_of_other(&self, way: usize, peer: &Address) -> u64 {
        let [[a, b], [c, d]] = [self.places[way % WAYS].key.peer.to_words(), peer.to_words()];
        let differ = a ^ c | b ^ d;
        (differ | black_box(differ.wrapping_neg())) >> 63
    }
}

/// A bit for the lowest lane that has this tag; bits above it mean nothing.
#[inline(always)]
const fn equal(word: u64, tag: Tag) -> u64 {
    // A lane of zeros is one from which a one borrows.
    let differs = word ^ tag.0.wrapping_mul(ONES);
    differs.wrapping_sub(ONES) & !differs & (ONES << 15)
}

/// The number of the lowest lane that has its bit.
#[inline(always)]
const fn lowest(lanes: u64) -> usize {
    let lowest = (lanes & lanes.wrapping_neg()) >> 15;
    // Shifts the lane's number to the top.
    (lowest.wrapping_mul(0x0000_0001_0002_0003) >> 48 & 3) as usize
}

/// What makes the hash of a table unknown to those who choose what flows there are: else they could
/// fill one set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Secret(pub [[u32; 2]; 5]);

/// The hash of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct FlowHash(u64);

impl FlowHash {
    /// Hashes a key. Two keys have one hash with a chance of 2^-32, whatever they are (NH, of UMAC:
    /// RFC 4418).
    #[inline(always)]
    #[must_use]
    pub fn of(key: &FlowKey, secret: &Secret) -> Self {
        Self(mix(nh(key.to_words(), &secret.0)))
    }

    /// What marks the flow's place.
    #[inline(always)]
    #[must_use]
    pub const fn tag(self) -> Tag {
        Tag(self.0 >> 49 | Tag::TAKEN)
    }

    /// The two sets of a table of so many, a power of two.
    #[inline(always)]
    #[must_use]
    pub const fn sets(self, count: u32) -> [u32; 2] {
        let mask = count - 1;
        [(self.0 & 0xffff_ffff) as u32 & mask, (self.0 >> 24 & 0xffff_ffff) as u32 & mask]
    }
}

/// NH of these words: the sum of the products of their halves, each with its part of the secret.
#[inline(always)]
pub(crate) fn nh<const N: usize>(words: [u64; N], secret: &[[u32; 2]; N]) -> u64 {
    let mut sum: u64 = 0;
    for (word, [for_low, for_high]) in words.iter().zip(secret) {
        let low = (word & 0xffff_ffff).wrapping_add(*for_low as u64) & 0xffff_ffff;
        let high = (word >> 32).wrapping_add(*for_high as u64) & 0xffff_ffff;
        sum = sum.wrapping_add(low.wrapping_mul(high));
    }
    sum
}

/// Spreads what is in some bits of a sum over both halves.
#[inline(always)]
pub(crate) const fn mix(sum: u64) -> u64 {
    // 2^64 divided by the golden ratio.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (sum ^ sum >> 32).wrapping_mul(GOLDEN);
    mixed ^ mixed >> 29
}
