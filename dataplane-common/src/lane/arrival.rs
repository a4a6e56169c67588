//! From where messages about lanes come: that is the way back to their senders.

use super::{Egress, Words};
use crate::Address;

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

/// By which interface a message came, and between which hardware addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Arrival {
    interface: u32,
    destination: [u8; 6],
    source: [u8; 6],
}

const _: () = assert!(size_of::<Arrival>() == 16);

impl Arrival {
    /// A message that came so, by its frame's first bytes: destination and source.
    #[inline(always)]
    #[must_use]
    pub const fn new(interface: u32, [a, b, c, d, e, f, g, h, i, j, k, l]: [u8; 12]) -> Self {
        Self { interface, destination: [a, b, c, d, e, f], source: [g, h, i, j, k, l] }
    }

    /// The same, from the kernel's map.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, frame @ ..] = bytes;
        Self::new(u32::from_ne_bytes([a, b, c, d]), frame)
    }

    /// The way back.
    #[must_use]
    pub const fn back(self) -> Egress {
        let Self { interface, destination, source } = self;
        Egress::Neighbour { interface, source: destination, destination: source }
    }
}

/// Senders that the kernel remembers: user space asks at once, or when they speak again.
pub const MAX_ARRIVALS: u32 = 16_384;
