//! From where messages about lanes come: that is the way back to their senders.

use super::{Egress, Words};
use crate::Address;
use crate::words::{join, split};

/// Who sent a message about a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Sender {
    pub(crate) address: Words,
    port: u64,
}

const _: () = assert!(size_of::<Sender>() == 24);

impl Sender {
    /// The sender at this address and port.
    #[inline(always)]
    #[must_use]
    pub fn new(address: Address, port: u16) -> Self {
        Self::of(address.into(), port)
    }

    #[inline(always)]
    pub(super) fn of(address: Words, port: u16) -> Self {
        Self { address, port: u64::from(port) }
    }

    /// As the kernel's map has it.
    #[must_use]
    pub fn to_words(self) -> [u64; 3] {
        let [high, low] = self.address.address().to_words();
        [high, low, self.port]
    }
}

/// By which interface a message came, and between which hardware addresses: interface, destination
/// and source. In words, because the kernel's program can store nothing larger where it is not aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Arrival([u64; 2]);

impl Arrival {
    /// A message that came so, by its frame's first bytes: destination and source.
    #[inline(always)]
    #[must_use]
    pub const fn new(interface: u32, [a, b, c, d, rest @ ..]: [u8; 12]) -> Self {
        let destination = u32::from_ne_bytes([a, b, c, d]);
        Self([join(interface, destination), u64::from_ne_bytes(rest)])
    }

    /// The same, from the kernel's map.
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// The way back.
    #[must_use]
    pub const fn back(self) -> Egress {
        let (interface, destination) = split(self.0[0]);
        let [a, b, c, d] = destination.to_ne_bytes();
        let [e, f, destination @ ..] = self.0[1].to_ne_bytes();
        Egress::Neighbour { interface, source: [a, b, c, d, e, f], destination }
    }
}

/// Senders that the kernel remembers: user space asks at once, or when they speak again.
pub const MAX_ARRIVALS: u32 = 16_384;
