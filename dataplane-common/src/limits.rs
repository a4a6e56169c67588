//! The sizes and lifetimes that both halves must agree on.

use crate::Nanos;

/// The version of the maps' layout: it grows with each change to what a map is named or holds, so
/// that nobody takes over maps that were pinned in another shape.
pub const LAYOUT: u32 = 6;

/// Rules of one policy that can have a counter: 16 bytes each, for each CPU.
pub const MAX_RULES: u32 = 131_072;

/// Entries of a policy's hash: 64 bytes each.
pub const MAX_EXACT: u32 = 1 << 21;

/// Entries of a policy's trie.
pub const MAX_PREFIXES: u32 = 1 << 20;

/// Answered flows that the kernel remembers. When there is no place for one more, that goes which was
/// silent longest of those whose places it could have.
pub const MAX_FLOWS: u32 = 131_072;

/// Flows not answered yet that the kernel remembers. They are apart, so that a flood of them
/// displaces no answered flow.
pub const MAX_OPENING: u32 = 16_384;

const WAYS: u32 = 8;
const _: () = assert!(WAYS as usize == crate::WAYS);

/// Sets of the table of answered flows: a power of two. A set takes 896 bytes.
pub const ANSWERED_SETS: u32 = MAX_FLOWS / WAYS;

/// Sets of the table of flows not answered yet: a power of two.
pub const OPENING_SETS: u32 = MAX_OPENING / WAYS;

/// The size of the ring buffer of events, unless the loader is told another.
pub const EVENTS_BYTES: u32 = 1 << 20;

/// Fragmented datagrams in flight that the kernel remembers.
pub const MAX_FRAGMENTS: u32 = 4_096;

/// How long the later fragments of an allowed datagram may follow the first: as long as the
/// kernel's own reassembly waits for them.
pub const FRAGMENT_LIFETIME: Nanos = Nanos::from_secs(30);
