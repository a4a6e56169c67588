//! The compiled policy as one longest-prefix-match table.
//!
//! Source identities, destination classes and rules share one trie, told apart by the key's first
//! word. So a policy is one map: to change it, fill a new one and swap one pointer.

use crate::Address;

/// Which set of rules may match a source address. Zero: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Identity(pub u32);

/// Which set of rules may match a destination address. Zero: none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Class(pub u32);

/// The position of a rule in the policy document, from zero; below [`MAX_RULES`](crate::MAX_RULES).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct RuleIndex(pub u32);

/// The number of a policy in force. The first is one; zero means that none was ever loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Generation(pub u32);

impl Identity {
    /// The identity that no rule matches.
    pub const NONE: Self = Self(0);
}

impl Class {
    /// The class that no rule matches.
    pub const NONE: Self = Self(0);
}

/// What a rule is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleKey {
    /// Of the source.
    pub identity: Identity,
    /// Of the destination.
    pub class: Class,
    /// The IP protocol.
    pub protocol: u8,
    /// The destination's port.
    pub port: u16,
}

/// The data that the trie compares: most significant bit first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct TableKey(pub [u8; 20]);

const _: () = assert!(size_of::<TableKey>() == 20);

/// A prefix of [`TableKey`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TablePrefix {
    /// How many leading bits count.
    pub bits: u32,
    /// The bits; the rest is zero.
    pub key: TableKey,
}

const TAG_BITS: u32 = 32;
const TAG_IDENTITY: u8 = 1;
const TAG_CLASS: u8 = 2;
const TAG_RULE: u8 = 3;

impl TablePrefix {
    /// The identity of every source under `address/length`.
    #[inline(always)]
    #[must_use]
    pub const fn identity(address: Address, length: u8) -> Self {
        Self::tagged(TAG_IDENTITY, address.0, length as u32)
    }

    /// The class of every destination under `address/length`.
    #[inline(always)]
    #[must_use]
    pub const fn class(address: Address, length: u8) -> Self {
        Self::tagged(TAG_CLASS, address.0, length as u32)
    }

    /// The rule for every port that shares the leading `port_bits` of `key.port`.
    #[inline(always)]
    #[must_use]
    pub const fn rule(key: RuleKey, port_bits: u8) -> Self {
        let [a, b, c, d] = key.identity.0.to_be_bytes();
        let [e, f, g, h] = key.class.0.to_be_bytes();
        let [m, n] = key.port.to_be_bytes();
        let data = [a, b, c, d, e, f, g, h, 0, key.protocol, m, n, 0, 0, 0, 0];
        Self::tagged(TAG_RULE, data, 32 + 32 + 16 + port_bits as u32)
    }

    #[inline(always)]
    const fn tagged(tag: u8, data: [u8; 16], bits: u32) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = data;
        Self {
            bits: TAG_BITS + bits,
            key: TableKey([0, 0, 0, tag, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]),
        }
    }
}
