//! The hosts and rules of a policy: a hash in an array, looked up by one function wherever it lies.
//!
//! The hash of a key leads to two buckets, either of which may hold it; a bucket is one line of the
//! processor's cache and holds two entries (cuckoo hashing: Pagh and Rodler; two to a bucket: Dietzfelbinger
//! and Weidling). A packet of a new flow so costs one miss of the cache for each look-up, rarely
//! two, where the kernel's own hash takes one for its list and one for each element of it.

use core::borrow::Borrow;

use crate::{
    ExactKey, PolicyHead,
    flow_set::{mix, nh},
};

/// How many entries a bucket holds.
pub const BUCKET_ENTRIES: usize = 2;

/// An [`ExactBucket`] as words, as the kernel's map holds it.
pub type BucketWords = [u64; 4 * BUCKET_ENTRIES];

/// Some entries whose hashes lead here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ExactBucket(pub [ExactEntry; BUCKET_ENTRIES]);

/// A key and its value. The first word of no key is zero: of zeros is what is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ExactEntry {
    key: [u64; 3],
    value: u64,
}

const _: () = assert!(size_of::<ExactBucket>() == 64);
const _: () = assert!(size_of::<ExactBucket>() == size_of::<BucketWords>());

impl ExactEntry {
    /// The value under a key.
    #[must_use]
    pub const fn new(key: ExactKey, value: u64) -> Self {
        Self { key: key.0, value }
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> ExactKey {
        ExactKey(self.key)
    }

    /// Whether there is none here.
    #[inline(always)]
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.key[0] == 0
    }

    #[inline(always)]
    const fn holds(&self, key: &ExactKey) -> bool {
        let ([a, b, c], [d, e, f]) = (self.key, key.0);
        (a ^ d) | (b ^ e) | (c ^ f) == 0
    }
}

impl ExactBucket {
    /// The bucket of these words.
    #[must_use]
    pub const fn from_words([a, b, c, d, e, f, g, h]: BucketWords) -> Self {
        Self([ExactEntry { key: [a, b, c], value: d }, ExactEntry { key: [e, f, g], value: h }])
    }

    /// The bucket as the kernel's map holds it.
    #[must_use]
    pub const fn to_words(&self) -> BucketWords {
        let [ExactEntry { key: [a, b, c], value: d }, ExactEntry { key: [e, f, g], value: h }] =
            self.0;
        [a, b, c, d, e, f, g, h]
    }

    #[inline(always)]
    fn find(&self, key: &ExactKey) -> Option<u64> {
        let [first, second] = &self.0;
        if first.holds(key) {
            return Some(first.value);
        }
        if second.holds(key) { Some(second.value) } else { None }
    }

    /// Whether nothing more fits in, so that a key may be elsewhere.
    #[inline(always)]
    const fn is_full(&self) -> bool {
        let [first, second] = &self.0;
        !first.is_free() && !second.is_free()
    }
}

/// By which the buckets of keys are chosen. Another one, if with one they do not find room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct ExactSeed(pub [u64; 3]);

impl ExactSeed {
    /// The two buckets, of so many, that may hold a key.
    #[inline(always)]
    #[must_use]
    pub fn buckets(&self, key: &ExactKey, count: u32) -> [u32; 2] {
        let hash = mix(nh(key.0, &self.0));
        // Each half as a fraction of the whole.
        let of = |half: u64| ((half * count as u64) >> 32) as u32;
        [of(hash & 0xffff_ffff), of(hash >> 32)]
    }
}

/// The value under a key, of a policy with this head, whose buckets are had by their numbers.
#[inline(always)]
pub fn find_exact<B: Borrow<ExactBucket>>(
    head: &PolicyHead,
    key: &ExactKey,
    bucket: impl Fn(u32) -> Option<B>,
) -> Option<u64> {
    let [first, second] = head.seed.buckets(key, head.bucket_count);
    let found = bucket(first)?;
    match found.borrow().find(key) {
        Some(value) => Some(value),
        // Keys go to their second bucket only when the first is full.
        None if found.borrow().is_full() => bucket(second)?.borrow().find(key),
        None => None,
    }
}
