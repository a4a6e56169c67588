//! What a packet's program reads of a policy before its tables.

use crate::{
    ExactSeed,
    words::{join, split},
};

/// What is known of a policy before its tables are looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PolicyHead {
    /// How many rules its document has.
    pub rule_count: u32,
    has_prefixes: u32,
    /// How many buckets its hash has.
    pub bucket_count: u32,
    zero: u32,
    /// By which its hash chooses them.
    pub seed: ExactSeed,
}

/// A [`PolicyHead`] as words, as the kernel's map holds it.
pub type HeadWords = [u64; 5];

const _: () = assert!(size_of::<PolicyHead>() == size_of::<HeadWords>());

impl PolicyHead {
    /// The head of a policy of so many rules, with or without prefixes shorter than a host.
    #[must_use]
    pub const fn new(
        rule_count: u32,
        has_prefixes: bool,
        bucket_count: u32,
        seed: ExactSeed,
    ) -> Self {
        Self { rule_count, has_prefixes: has_prefixes as u32, bucket_count, zero: 0, seed }
    }

    /// Whether the trie holds anything: if not, it is not worth a look.
    #[inline(always)]
    #[must_use]
    pub const fn has_prefixes(&self) -> bool {
        self.has_prefixes != 0
    }

    /// The head as the kernel's map holds it.
    #[must_use]
    pub fn to_words(self) -> HeadWords {
        let [a, b, c] = self.seed.to_words();
        let counts = join(self.rule_count, self.has_prefixes);
        [counts, join(self.bucket_count, self.zero), a, b, c]
    }

    /// The head of these words.
    #[must_use]
    pub fn from_words([counts, buckets, a, b, c]: HeadWords) -> Self {
        let seed = ExactSeed::from_words([a, b, c]);
        let ((rule_count, has_prefixes), (bucket_count, zero)) = (split(counts), split(buckets));
        Self { rule_count, has_prefixes, bucket_count, zero, seed }
    }
}
