//! What every packet is judged by: one value, so that one look-up finds it.

use crate::{
    Generation, Secret,
    words::{join, split},
};

/// The generation of the policy in force, and the secret of the tables of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Base {
    /// By which the sets of flows are chosen. The loader writes it before a packet is seen.
    pub secret: Secret,
    /// Writing it is what puts a policy in force.
    pub generation: Generation,
    zero: u32,
}

/// A [`Base`] as words, as the kernel's map holds it.
pub type BaseWords = [u64; 6];

const _: () = assert!(size_of::<Base>() == size_of::<BaseWords>());

impl Base {
    /// The base of these.
    #[must_use]
    pub const fn new(secret: Secret, generation: Generation) -> Self {
        Self { secret, generation, zero: 0 }
    }

    /// The base as the kernel's map holds it. The generation is in the last word.
    #[must_use]
    pub fn to_words(self) -> BaseWords {
        let [a, b, c, d, e] = self.secret.0.map(|[first, second]| join(first, second));
        [a, b, c, d, e, join(self.generation.0, self.zero)]
    }

    /// The base of these words.
    #[must_use]
    pub fn from_words([a, b, c, d, e, last]: BaseWords) -> Self {
        let secret = Secret([a, b, c, d, e].map(|word| split(word).into()));
        Self::new(secret, Generation(split(last).0))
    }
}
