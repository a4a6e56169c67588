//! What the kernel tells of flows and denials.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use aya::maps::{MapData, RingBuf};
use dataplane_common::{Event, EventWords};

/// The events of a policy's programs, in the order in which they happened. Poll the descriptor to be
/// woken for the first of them, gather for a moment, then take all: while some wait, the kernel
/// wakes nobody for more, unless the buffer fills.
#[derive(Debug)]
pub struct Events {
    ring: Ring,
}

struct Ring(RingBuf<MapData>);

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Ring").finish()
    }
}

impl Events {
    pub(crate) const fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring: Ring(ring) }
    }

    /// The next event, if there is one. What is no event is passed over: it cannot come from
    /// programs of this version.
    #[expect(clippy::should_implement_trait, reason = "none now is not the end")]
    pub fn next(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.0.next()?;
            if let Some(event) = words(&item).and_then(Event::from_words) {
                return Some(event);
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.0.as_fd()
    }
}

/// The words of a record; the kernel pads nothing within, but may behind.
fn words(bytes: &[u8]) -> Option<EventWords> {
    let (chunks, _) = bytes.as_chunks::<8>();
    let mut words: EventWords = [0; _];
    if chunks.len() < words.len() {
        return None;
    }
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u64::from_ne_bytes(*chunk);
    }
    Some(words)
}

/// The size of the ring buffer of events, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsSize(u32);

impl EventsSize {
    /// A power of two, at least a page of 4,096 bytes.
    ///
    /// # Errors
    ///
    /// When it is anything else.
    pub fn new(bytes: u32) -> io::Result<Self> {
        if bytes.is_power_of_two() && bytes >= 4_096 {
            return Ok(Self(bytes));
        }
        let reason = format!(
            "{bytes} bytes cannot be the size of the events' buffer: take a power of two, 4096 or more"
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
    }

    pub(crate) const fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for EventsSize {
    fn default() -> Self {
        Self(dataplane_common::EVENTS_BYTES)
    }
}
