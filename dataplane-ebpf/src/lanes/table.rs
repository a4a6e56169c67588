//! The shared switch's view of the maps.

use aya_ebpf::helpers::bpf_jiffies64;
use dataplane_common::{
    Address, AskerNetwork, ClientBucket, ClientPlace, HotLane, LaneAddresses, LaneEntry, LaneId, LaneSlot, LaneTable,
    Nanos, NetworkBucket, NetworkPlace, RelayTable,
};

use crate::maps::{ASKERS, CLIENTS, LANE_ADDRESSES, LANES, LOCALS, NETWORKS, allowance, port, tick};

/// The maps.
pub struct Maps;

impl LaneTable for Maps {
    type Entry = KernelEntry;

    #[inline(always)]
    fn find(&self, id: LaneId) -> Option<KernelEntry> {
        let slot = LANES.get_ptr(id.place())?;
        let entry = KernelEntry { slot, id };
        entry.is_still().then_some(entry)
    }

    #[inline(always)]
    fn client(&self, place: ClientPlace) -> Option<&ClientBucket> {
        // SAFETY: an element of an array, which is always there; its words are read and written as
        // wholes, by this CPU and others: see `take`.
        CLIENTS.get_ptr(place.0).map(|client| unsafe { &*client })
    }

    #[inline(always)]
    fn network(&self, place: NetworkPlace) -> Option<&NetworkBucket> {
        // Most have none, and need not be looked up.
        if place == NetworkPlace(0) {
            return None;
        }
        // SAFETY: as in `client`.
        NETWORKS.get_ptr(place.0).map(|network| unsafe { &*network })
    }

    #[inline(always)]
    fn now(&self) -> Nanos {
        // SAFETY: the helper takes no arguments and only reads a clock: as coarse a one as the helper
        // that gives nanoseconds, but the kernel makes a single load of it.
        Nanos(unsafe { bpf_jiffies64() } * tick())
    }
}

impl RelayTable for Maps {
    #[inline(always)]
    fn port(&self) -> u16 {
        port()
    }

    #[inline(always)]
    fn is_local(&self, address: &Address) -> bool {
        LOCALS.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn take_answer(&self, asker: &Address) -> Option<bool> {
        let allowance = allowance()?;
        let network = AskerNetwork::of(asker);
        let now = self.now();
        let known = ASKERS.get_ptr_mut(&network);
        // SAFETY: a number that is read and written as a whole. Should the kernel give the element
        // to another network meanwhile, that one pays for an answer.
        let spent = known.map_or(Nanos(0), |spent| unsafe { *spent });
        let Some(until) = allowance.take(spent, now) else { return Some(false) };
        match known {
            // SAFETY: as above.
            Some(spent) => unsafe { *spent = until },
            // A full table forgets its oldest network; should even that fail, one answer is free.
            None => drop(ASKERS.insert(&network, until, 0)),
        }
        Some(true)
    }
}

/// An element of the kernel's map.
pub struct KernelEntry {
    slot: *const LaneSlot,
    id: LaneId,
}

impl LaneEntry for KernelEntry {
    #[inline(always)]
    fn hot(&self) -> &HotLane {
        // SAFETY: an element of an array, which is always there. The loader takes its number away
        // before it writes to it: see `is_still`.
        unsafe { &(*self.slot).hot }
    }

    #[inline(always)]
    fn addresses(&self) -> Option<&LaneAddresses> {
        // SAFETY: as in `hot`.
        LANE_ADDRESSES.get_ptr(self.id.place()).map(|addresses| unsafe { &*addresses })
    }

    #[inline(always)]
    fn is_still(&self) -> bool {
        // SAFETY: as in `hot`; volatile, because it is read to see whether it has changed.
        unsafe { (&raw const (*self.slot).hot.id).read_volatile() == self.id }
    }
}
