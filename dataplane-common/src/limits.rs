//! The sizes and lifetimes that both halves must agree on.

use crate::Nanos;

/// The version of the maps' layout: it grows with each change to what a map is named or holds, so
/// that nobody takes over maps that were pinned in another shape.
pub const LAYOUT: u32 = 2;

/// Rules of one policy that can have a counter. Two generations of 16-byte counters make half a
/// mebibyte for each CPU.
pub const MAX_RULES: u32 = 16_384;

/// Flows that the kernel remembers; the least recently used goes first.
pub const MAX_FLOWS: u32 = 65_536;

/// Fragmented datagrams in flight that the kernel remembers.
pub const MAX_FRAGMENTS: u32 = 4_096;

/// A flow's time stamp is rewritten at most this often: a write per packet would bounce its cache
/// line between CPUs.
pub const FLOW_REFRESH: Nanos = Nanos::from_secs(1);

/// How long the later fragments of an allowed datagram may follow the first: as long as the
/// kernel's own reassembly waits for them.
pub const FRAGMENT_LIFETIME: Nanos = Nanos::from_secs(30);
