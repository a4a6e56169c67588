//! Which thread a peer belongs to, and how a datagram says so.
//!
//! The agent runs several shards: threads that own their peers and share nothing. Every peer has a
//! slot, and its slot names its shard. The session indexes that we hand out have the slot in them,
//! so what a peer sends back names the shard without a table.

use core::num::NonZeroU32;

use crate::PacketBytes;

/// A peer's number on this node, below [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Slot(pub u32);

/// How many slots a session index can tell apart: the eight bits left over count the sessions of
/// one peer.
pub const SLOTS: u32 = 1 << SLOT_BITS;

const SLOT_BITS: u32 = 24;
const COUNTER_BITS: u32 = u32::BITS - SLOT_BITS;

/// A shard's number, below the number of shards; also that of its queue of the tunnel interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct ShardId(pub u32);

impl ShardId {
    /// The shard that takes what names none: handshake initiations, and whatever is not WireGuard.
    pub const FIRST: Self = Self(0);
}

/// How many shards there are: from one to [`MAX_SHARDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shards(NonZeroU32);

/// As many as a TUN interface can have queues.
pub const MAX_SHARDS: u32 = 256;

impl Shards {
    /// One shard, to which everything belongs.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// This many shards, unless there are none or too many.
    #[inline(always)]
    #[must_use]
    pub const fn new(count: u32) -> Option<Self> {
        match NonZeroU32::new(count) {
            Some(count) if count.get() <= MAX_SHARDS => Some(Self(count)),
            _ => None,
        }
    }

    /// How many.
    #[inline(always)]
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0.get()
    }

    /// The shard that owns the peer in this slot.
    #[inline(always)]
    #[must_use]
    pub fn owner(self, slot: Slot) -> ShardId {
        ShardId(slot.0 % self.0)
    }
}

/// What hides the slots in session indexes: a node should not tell everyone how many peers it has.
/// It stays the same while sessions live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct IndexMask(u32);

impl IndexMask {
    /// A mask of these random bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(random: u32) -> Self {
        Self(random % SLOTS)
    }

    /// The session index to hand out for the peer in this slot: `counter` tells its sessions apart.
    #[inline(always)]
    #[must_use]
    pub const fn index(self, slot: Slot, counter: u8) -> u32 {
        ((slot.0 ^ self.0) << COUNTER_BITS) | counter as u32
    }

    /// The slot in a session index that we handed out.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self, index: u32) -> Slot {
        Slot((index >> COUNTER_BITS) ^ self.0)
    }
}

/// What both steering programs go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteeringParameters {
    /// How many shards there are.
    pub shards: Shards,
    /// What hides the slots.
    pub mask: IndexMask,
}

impl SteeringParameters {
    /// The parameters as the kernel's map holds them.
    #[inline(always)]
    #[must_use]
    pub const fn to_words(self) -> [u32; 2] {
        [self.shards.count(), self.mask.0]
    }

    /// The parameters of these words; `None` for a map that was never written.
    #[inline(always)]
    #[must_use]
    pub const fn from_words([shards, mask]: [u32; 2]) -> Option<Self> {
        match Shards::new(shards) {
            Some(shards) => Some(Self { shards, mask: IndexMask::new(mask) }),
            None => None,
        }
    }

    /// The shard to which a datagram (from the WireGuard message type on) belongs.
    #[inline(always)]
    #[must_use]
    pub fn shard_of<P: PacketBytes + ?Sized>(&self, datagram: &P) -> ShardId {
        match receiver_index(datagram) {
            Some(index) => self.shards.owner(self.mask.slot(index)),
            None => ShardId::FIRST,
        }
    }
}

/// The receiver index of a WireGuard message; `None` for an initiation, which has none, and for
/// what is no message. Lengths are not judged here: the owner does that.
///
/// `proto::message` reads the same and more, but the kernel's half cannot stand on it.
#[inline(always)]
#[must_use]
pub fn receiver_index<P: PacketBytes + ?Sized>(datagram: &P) -> Option<u32> {
    // One copy of all that may matter; the shortest message is longer.
    let head: [u8; 12] = datagram.read(0)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = head;
    match u32::from_le_bytes([a, b, c, d]) {
        2 => Some(u32::from_le_bytes([i, j, k, l])),
        3 | 4 => Some(u32::from_le_bytes([e, f, g, h])),
        _ => None,
    }
}
