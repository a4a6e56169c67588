//! The hosts and rules of a policy: a hash in an array, looked up by one function wherever it lies.
//!
//! The hash of a key leads to two buckets, either of which may hold it; a bucket is one line of the
//! processor's cache and holds two entries (cuckoo hashing: Pagh and Rodler; two to a bucket: Dietzfelbinger
//! and Weidling). A packet of a new flow so costs one miss of the cache for each look-up, rarely
//! two, where the kernel's own hash takes one for its list and one for each element of it. And of a
//! host that shares its identity with none, one rule stands in the host's own entry, where it costs
//! no miss.

use core::borrow::Borrow;

use crate::{
    Address, Class, ExactKey, Identity, PolicyHead, Ports,
    flow_set::{mix, nh},
    words::{join, split},
};

/// How many entries a bucket holds.
pub const BUCKET_ENTRIES: usize = 2;

/// An [`ExactBucket`] as words, as the kernel's map holds it.
pub type BucketWords = [u64; 4 * BUCKET_ENTRIES];

/// Some entries whose hashes lead here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ExactBucket(pub [ExactEntry; BUCKET_ENTRIES]);

/// A key and its value, or a source and what is known of it. The first word is zero only of what is
/// free.
///
/// A source's first word has, behind the key's tag: from bit 8 the protocol and from bit 16 the class of
/// the rule beside it, of which the second word of the value tells the ports, and from bit 40 its identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ExactEntry {
    key: [u64; 3],
    value: u64,
}

const _: () = assert!(size_of::<ExactBucket>() == 64);
const _: () = assert!(size_of::<ExactBucket>() == size_of::<BucketWords>());

const TAG: u64 = 0xff;
const CLASS_BITS: u32 = 24;
const IDENTITY_SHIFT: u32 = 16 + CLASS_BITS;
const IDENTITY_BITS: u32 = 63 - IDENTITY_SHIFT;
/// In a bucket's first word: some key of which this is the first bucket is in its second.
const OVERFLOWS: u64 = 1 << 63;

// Each identity and each class has an entry at least.
const _: () = assert!(crate::MAX_EXACT + crate::MAX_PREFIXES < 1 << IDENTITY_BITS);
const _: () = assert!(crate::MAX_EXACT + crate::MAX_PREFIXES < 1 << CLASS_BITS);

/// What was found under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Found {
    first: u64,
    /// The value; of a source, that of the rule beside it.
    pub value: u64,
}

impl Found {
    /// Nothing: memory that may be written over.
    pub const NOTHING: Self = Self { first: 0, value: 0 };

    /// Of a source, nothing but its identity.
    #[inline(always)]
    pub(crate) const fn source(identity: Identity) -> Self {
        Self { first: (identity.0 as u64) << IDENTITY_SHIFT, value: 0 }
    }

    /// Of a source.
    #[inline(always)]
    #[must_use]
    pub const fn identity(&self) -> Identity {
        Identity((self.first >> IDENTITY_SHIFT & ((1 << IDENTITY_BITS) - 1)) as u32)
    }

    /// What there is between a source and this class, by protocol, if it stands beside the source. No
    /// rule is of class zero.
    #[inline(always)]
    #[must_use]
    pub const fn beside(&self, class: Class, protocol: u8) -> Option<Ports> {
        let rule = self.first >> 8 & ((1 << (8 + CLASS_BITS)) - 1);
        if rule == (class.0 as u64) << 8 | protocol as u64 { Some(Ports(self.value)) } else { None }
    }
}

impl ExactEntry {
    /// The value under a key that is no source's.
    #[must_use]
    pub const fn new(key: ExactKey, value: u64) -> Self {
        Self { key: key.0, value }
    }

    /// A source, and what there is between it and a class by protocol, if that is for it alone.
    #[must_use]
    pub fn source(
        address: &Address,
        identity: Identity,
        beside: Option<(Class, u8, Ports)>,
    ) -> Self {
        let [tag, high, low] = ExactKey::identity(address).0;
        let (class, protocol, ports) = beside.unwrap_or((Class::NONE, 0, Ports(0)));
        let rule = u64::from(class.0) << 16 | u64::from(protocol) << 8;
        let first = tag | rule | u64::from(identity.0) << IDENTITY_SHIFT;
        Self { key: [first, high, low], value: ports.0 }
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> ExactKey {
        let [first, second, third] = self.key;
        let source = ExactKey([first & TAG, second, third]);
        if source.is_source() { source } else { ExactKey([first & !OVERFLOWS, second, third]) }
    }

    /// What is here, if it is what the key leads to.
    #[inline(always)]
    const fn found(&self, key: &ExactKey, mask: u64) -> Option<Found> {
        let ([a, b, c], [first, e, f]) = (key.0, self.key);
        if (a ^ (first & mask)) | (b ^ e) | (c ^ f) == 0 {
            Some(Found { first, value: self.value })
        } else {
            None
        }
    }

    const fn is_free(&self) -> bool {
        self.key[0] & TAG == 0
    }
}

impl ExactKey {
    /// The bits of an entry's first word that are of its key.
    #[inline(always)]
    const fn mask(&self) -> u64 {
        if self.is_source() { TAG } else { !OVERFLOWS }
    }
}

impl ExactBucket {
    /// Puts an entry into a free place; false if there is none.
    #[must_use]
    pub fn take_in(&mut self, entry: ExactEntry) -> bool {
        let place = self.0.iter_mut().find(|place| place.is_free());
        place.map(|place| *place = entry).is_some()
    }

    /// What is in it.
    pub fn entries(&self) -> impl Iterator<Item = ExactEntry> + use<> {
        self.0.into_iter().filter(|entry| !entry.is_free())
    }

    /// Notes that a key of which this is the first bucket is in its second.
    pub const fn note_overflow(&mut self) {
        self.0[0].key[0] |= OVERFLOWS;
    }

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

    /// What is under the key, if it is here.
    #[inline(always)]
    #[must_use]
    pub const fn find(&self, key: &ExactKey) -> Option<Found> {
        let (mask, [first, second]) = (key.mask(), &self.0);
        match first.found(key, mask) {
            None => second.found(key, mask),
            found => found,
        }
    }

    /// Whether a key that is not here may be in its second bucket.
    #[inline(always)]
    #[must_use]
    pub const fn overflows(&self) -> bool {
        self.0[0].key[0] & OVERFLOWS != 0
    }
}

/// By which the buckets of keys are chosen. Another one, if with one they do not find room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct ExactSeed(pub [[u32; 2]; 3]);

impl ExactSeed {
    /// The seed of these words.
    #[must_use]
    pub fn from_words(words: [u64; 3]) -> Self {
        Self(words.map(|word| split(word).into()))
    }

    /// The seed as words.
    #[must_use]
    pub fn to_words(self) -> [u64; 3] {
        self.0.map(|[first, second]| join(first, second))
    }

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

/// What is under a key, of a policy with this head, whose buckets are had by their numbers.
#[inline(always)]
pub fn find_exact<B: Borrow<ExactBucket>>(
    head: &PolicyHead,
    key: &ExactKey,
    bucket: impl Fn(u32) -> Option<B>,
) -> Option<Found> {
    let [first, second] = head.seed.buckets(key, head.bucket_count);
    let there = bucket(first)?;
    match there.borrow().find(key) {
        None if there.borrow().overflows() => bucket(second)?.borrow().find(key),
        found => found,
    }
}
