//! The compiled policy as the kernel holds it: one hash and one longest-prefix trie.
//!
//! Single hosts and rules are in the hash, which costs the same however much it holds; the trie
//! has the shorter prefixes of addresses only. Both hold values of several kinds, told apart by the
//! key's first word.

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

impl Generation {
    /// The generation of the policy after this one.
    #[inline(always)]
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(next) => Self(next),
            None => Self(1),
        }
    }

    /// Whether a flow judged by this policy needs no other judgement by one that was read as the
    /// policy in force: a packet on another CPU may be ahead by one change.
    #[inline(always)]
    #[must_use]
    pub const fn covers(self, in_force: Self) -> bool {
        self.0 == in_force.0 || self.0 == in_force.next().0
    }

    /// Which of the two slots for tables is this generation's.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.0 & 1
    }
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

const TAG_IDENTITY: u8 = 1;
const TAG_CLASS: u8 = 2;
const TAG_PORTS: u64 = 3;
const TAG_PORT: u64 = 4;

/// A key of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ExactKey(pub [u64; 3]);

const _: () = assert!(size_of::<ExactKey>() == 24);

impl ExactKey {
    /// The identity of a host.
    #[inline(always)]
    #[must_use]
    pub const fn identity(source: &Address) -> Self {
        Self::host(TAG_IDENTITY, source)
    }

    /// The class of a host.
    #[inline(always)]
    #[must_use]
    pub const fn class(destination: &Address) -> Self {
        Self::host(TAG_CLASS, destination)
    }

    /// What there is between an identity and a class, by protocol: a [`Ports`](crate::Ports).
    #[inline(always)]
    #[must_use]
    pub const fn ports(key: &RuleKey) -> Self {
        Self([TAG_PORTS | (key.protocol as u64) << 8, Self::pair(key), 0])
    }

    /// The ruling for the ports that share the leading `bits` (1 to 16) of `key.port`.
    #[inline(always)]
    #[must_use]
    pub const fn port(key: &RuleKey, bits: u32) -> Self {
        let masked = key.port as u64 & (0xffff << (16 - bits));
        let tag = TAG_PORT | (key.protocol as u64) << 8 | (bits as u64) << 16 | masked << 32;
        Self([tag, Self::pair(key), 0])
    }

    /// Whether it is a source's.
    #[inline(always)]
    pub(crate) const fn is_source(&self) -> bool {
        self.0[0] == TAG_IDENTITY as u64
    }

    #[inline(always)]
    const fn host(tag: u8, address: &Address) -> Self {
        let [high, low] = address.to_words();
        Self([tag as u64, high, low])
    }

    #[inline(always)]
    const fn pair(key: &RuleKey) -> u64 {
        (key.identity.0 as u64) << 32 | key.class.0 as u64
    }
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

impl TablePrefix {
    /// The identity of every source under `address/length`.
    #[inline(always)]
    #[must_use]
    pub const fn identity(address: Address, length: u8) -> Self {
        Self::tagged(TAG_IDENTITY, address, length as u32)
    }

    /// The class of every destination under `address/length`.
    #[inline(always)]
    #[must_use]
    pub const fn class(address: Address, length: u8) -> Self {
        Self::tagged(TAG_CLASS, address, length as u32)
    }

    #[inline(always)]
    const fn tagged(tag: u8, address: Address, bits: u32) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.to_bytes();
        Self {
            bits: TAG_BITS + bits,
            key: TableKey([0, 0, 0, tag, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]),
        }
    }
}
