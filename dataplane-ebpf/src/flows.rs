//! The tables of flows: how a place in them is found, taken and given back while other CPUs do the
//! same.
//!
//! A place is written only by who has made its tag [`Tag::BUSY`]. Who reads one may be overtaken: a
//! flow is displaced while a packet of it is judged, and a count is lost with it; or it is read half
//! written, is nobody's then, and its packet is judged by the rules.

use core::{
    hint::black_box,
    intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg, atomic_xor},
};

use dataplane_common::{
    Address, Flow, FlowHash, FlowKey, FlowSet, FlowTable, Loss, Secret, Tag, WAYS,
};

use crate::{
    events,
    maps::{BASE, FLOWS, OPENING},
};

/// A flow in its place.
pub struct Found<'a> {
    pub flow: &'a mut Flow,
    word: *mut u64,
    way: usize,
    tag: Tag,
}

/// The place of a flow.
#[inline(always)]
pub fn find<'a>(table: FlowTable, key: &FlowKey, secret: &Secret) -> Option<Found<'a>> {
    let (tag, [first, second]) = hash(table, key, secret);
    match find_in(set(table, first)?, tag, key) {
        Some(found) => Some(found),
        None => find_in(set(table, second)?, tag, key),
    }
}

#[inline(always)]
fn find_in<'a>(set: *mut FlowSet, tag: Tag, key: &FlowKey) -> Option<Found<'a>> {
    // SAFETY: a map's element, which stays where it is; other CPUs write it too, see above.
    let set = unsafe { &mut *set };
    let way = set.way(tag)?;
    let place = &mut set.places[way % WAYS];
    if place.key != *key {
        return None;
    }
    Some(Found { flow: &mut place.flow, word: &raw mut set.tags[FlowSet::word(way)], way, tag })
}

// The kernel verifies these once, and not again with each call: by what BTF says of their arguments,
// which is why there are neither enums nor references.

/// Copies a flow, and tells the number of its table; zero if it is not known.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn recall_flow(key: *const FlowKey, flow: *mut Flow) -> u32 {
    // SAFETY: the verifier sees to it that they are null or can be used as what they are.
    let (Some(key), Some(flow)) = (unsafe { key.as_ref() }, unsafe { flow.as_mut() }) else {
        return 0;
    };
    let Some(base) = BASE.get(0) else { return 0 };
    for table in FlowTable::ALL {
        if let Some(found) = find(table, key, &base.secret) {
            *flow = *found.flow;
            return table.number();
        }
    }
    0
}

/// Remembers a flow: where it is, in a free place, or in that of the flow that was silent longest, of
/// all or of the peer's own; not at all if another CPU wants the same place.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn store_flow(table: u32, key: *const FlowKey, flow: *const Flow) -> u32 {
    // SAFETY: as in `recall_flow`.
    let (Some(key), Some(flow)) = (unsafe { key.as_ref() }, unsafe { flow.as_ref() }) else {
        return 0;
    };
    let stored = FlowTable::of_number(table).and_then(|table| store(table, key, flow));
    u32::from(stored.is_some())
}

/// Forgets a flow.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn remove_flow(table: u32, key: *const FlowKey) -> u32 {
    // SAFETY: as in `recall_flow`.
    let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
    let Some(base) = BASE.get(0) else { return 0 };
    let found = FlowTable::of_number(table).and_then(|table| find(table, key, &base.secret));
    // Unless another flow has the place by now.
    let removed =
        found.is_some_and(|Found { word, way, tag, .. }| exchange(word, way, tag, Tag::FREE));
    u32::from(removed)
}

#[inline(always)]
fn store(table: FlowTable, key: &FlowKey, flow: &Flow) -> Option<()> {
    let secret = &BASE.get(0)?.secret;
    if let Some(found) = find(table, key, secret) {
        *found.flow = *flow;
        return Some(());
    }
    let (tag, [first, second]) = hash(table, key, secret);
    let (first, second) = (set(table, first)?, set(table, second)?);
    // SAFETY: as in `find_in`.
    let (set, way) = unsafe { room(&mut *first, &mut *second, tag, &key.peer) };
    let word = &raw mut set.tags[FlowSet::word(way)];
    let old = set.tag(way);
    if old == Tag::BUSY || !exchange(word, way, old, Tag::BUSY) {
        return None;
    }
    let place = &mut set.places[way % WAYS];
    place.key = *key;
    place.flow = *flow;
    // SAFETY: as in `exchange`. Nobody else changes a busy place.
    unsafe { atomic_xor::<_, _, { SeqCst }>(word, Tag::BUSY.change(tag, way)) };
    if old.is_taken() {
        events::count(Loss::Displaced);
    }
    Some(())
}

/// The best place for one more flow with this peer. No two flows of a set have one tag, or only one
/// would be found.
#[inline(always)]
fn room<'a>(
    first: &'a mut FlowSet,
    second: &'a mut FlowSet,
    tag: Tag,
    peer: &Address,
) -> (&'a mut FlowSet, usize) {
    let (first, second) =
        if first.gives_way_to(second) { (second, first) } else { (first, second) };
    if let Some(way) = first.way(tag) {
        return match second.way(tag) {
            None if let Some(way) = second.way(Tag::FREE) => (second, way),
            _ => (first, way),
        };
    }
    if let Some(way) = first.way(Tag::FREE) {
        return (first, way);
    }
    // Both are full.
    if let Some(way) = second.way(tag) {
        return (second, way);
    }
    let way = displaced(first, second, peer);
    let set = if way < WAYS as u32 { first } else { second };
    (set, way as usize % WAYS)
}

/// Whose place one more flow with this peer takes, when both sets are full: the one that was silent
/// longest. Who has half of the places gives up one of its own, so no peer pushes all others out.
/// Ways of the second set come after those of the first.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn displaced(
    first: *const FlowSet,
    second: *const FlowSet,
    peer: *const Address,
) -> u32 {
    // SAFETY: as in `recall_flow`.
    let (Some(first), Some(second), Some(peer)) =
        (unsafe { first.as_ref() }, unsafe { second.as_ref() }, unsafe { peer.as_ref() })
    else {
        return 0;
    };
    let own = black_box(first.flows_with(peer) + second.flows_with(peer)) >= WAYS as u64;
    let (in_first, in_second) = (oldest(first, peer, own), oldest(second, peer, own));
    let way = if second.seen(in_second, peer, own) < first.seen(in_first, peer, own) {
        WAYS + in_second
    } else {
        in_first
    };
    way as u32
}

/// Where the flow is that was silent longest, of all or of the peer's own.
#[inline(always)]
fn oldest(set: &FlowSet, peer: &Address, own: bool) -> usize {
    let mut oldest = 0;
    for way in 1..WAYS {
        // The verifier must not know which, or it would go through what follows once for each.
        oldest = black_box(oldest);
        if set.seen(way, peer, own) < set.seen(oldest, peer, own) {
            oldest = way;
        }
    }
    oldest
}

/// Writes the tag of a place if it is still the old one and nobody writes one beside it.
#[inline(always)]
fn exchange(word: *mut u64, way: usize, old: Tag, new: Tag) -> bool {
    // SAFETY: a word of a map's element, which stays where it is. Intrinsics because the standard
    // library has no such operations for this machine.
    unsafe {
        let tags = *word;
        FlowSet::tag_in(tags, way) == old
            && atomic_cxchg::<_, { SeqCst }, { SeqCst }>(word, tags, tags ^ old.change(new, way)).1
    }
}

#[inline(always)]
fn set(table: FlowTable, index: u32) -> Option<*mut FlowSet> {
    match table {
        FlowTable::Answered => FLOWS.get_ptr_mut(index),
        FlowTable::Opening => OPENING.get_ptr_mut(index),
    }
}

#[inline(always)]
fn hash(table: FlowTable, key: &FlowKey, secret: &Secret) -> (Tag, [u32; 2]) {
    let hash = FlowHash::of(key, secret);
    (hash.tag(), hash.sets(table.sets()))
}
