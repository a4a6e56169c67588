//! Events on their way to user space.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_RING_SIZE},
    helpers::bpf_ringbuf_query,
};
use dataplane_common::{Event, EventKind, Loss, Nanos};

use crate::maps::{EVENTS, EVENTS_LOST, PACE};

/// Whether an event of this kind is to be told.
#[inline(always)]
pub fn admit(kind: EventKind, now: Nanos) -> bool {
    let Some(pace) = PACE.get_ptr_mut(0) else { return false };
    let pressed = matches!(kind, EventKind::Start) && pressed();
    // SAFETY: the element is this CPU's own, and a classifier is not preempted by another packet of
    // the same CPU.
    match unsafe { (*pace).admit(kind, now, pressed) } {
        Ok(()) => true,
        Err(loss) => {
            count(loss);
            false
        }
    }
}

/// Puts an event into the ring buffer. The kernel wakes its reader for the first event after it has
/// read all others; and for each, when it had better come at once.
#[inline(always)]
pub fn tell(event: &Event) {
    // Written where it is read: the stack has no room for it beside the flow.
    let Some(mut place) = EVENTS.reserve(0) else { return count(Loss::RingFull) };
    place.write(event.to_words());
    let wake = if pressed() { BPF_RB_FORCE_WAKEUP } else { 0 };
    place.submit(wake.into());
}

/// Whether the ring buffer is more than half full.
#[inline(always)]
fn pressed() -> bool {
    let ask = |what: u32| {
        // SAFETY: the map is a ring buffer, and the helper only tells a number.
        unsafe { bpf_ringbuf_query(core::ptr::from_ref(&EVENTS).cast_mut().cast(), what.into()) }
    };
    ask(BPF_RB_AVAIL_DATA) > ask(BPF_RB_RING_SIZE) / 2
}

/// Counts what is not told.
#[inline(always)]
pub fn count(loss: Loss) {
    if let Some(counter) = EVENTS_LOST.get_ptr_mut(loss as u32) {
        // SAFETY: as in `admit`.
        unsafe { *counter += 1 };
    }
}
