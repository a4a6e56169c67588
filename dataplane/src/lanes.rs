//! The relay's switch: lanes from one end to the other, and STUN, before the host sees a packet.
//!
//! What the kernel's program cannot do (control messages, fragments, IPv4 datagrams without a
//! checksum on their way to IPv6, and whatever is not the relay's) it gives to the host untouched.
//! [`judge`](dataplane_common::judge) does the same in user space.

mod attach;
mod buckets;
mod counters;
mod far_end;
mod object;
mod run;
mod wire;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError},
    programs::Xdp,
    util::nr_cpus,
};
use dataplane_common::{
    Address, Allowance, Arrival, COARSEST_CLOCK, Egress, Lane, LaneAddresses, LaneCounters, LaneId,
    LaneSlot, MAX_LANE_ENDS, MAX_LOCALS, Sender,
};

use rustix::time::{ClockId, clock_getres};

use crate::{Error, error::chain};
use attach::Attachment;
pub use attach::XdpMode;
use counters::CounterTable;
pub use counters::LaneTotals;
pub use far_end::FarEnd;
pub use run::Switched;
pub use wire::Wire;

/// What a switch is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneOptions {
    /// How many ends of lanes it has places for, two for each lane: [`MAX_LANE_ENDS`] at most.
    pub capacity: u32,
    /// How many places there are for clients, and as many for networks; the first of each is nobody's.
    pub clients: u32,
    /// The port of lanes and STUN, on every address of the relay.
    pub port: u16,
    /// How many STUN answers each network of askers may have; none: the host is given what they ask.
    pub answers: Option<Allowance>,
}

/// The switch in the kernel. It ends, and its interfaces are as before, when this is dropped.
#[derive(Debug)]
pub struct LaneSwitch {
    ebpf: Ebpf,
    /// Whose each place is.
    lanes: Vec<Option<LaneId>>,
    /// Places that were used so far: no others need be read.
    used: u32,
    counters: CounterTable,
    attached: Vec<Attachment>,
}

/// Elements of the kernel's tables of lanes, as bytes.
type Lines<'a> = Array<&'a mut MapData, Line>;

type Line = [u8; 64];

impl LaneSwitch {
    /// Loads the switch. It sees no packets before it is attached.
    ///
    /// A place for an end takes 128 bytes of kernel memory and 48 for each CPU, one for a client and a
    /// network 64, from the start.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the program or has no room for the tables.
    pub fn load(options: LaneOptions) -> Result<Self, Error> {
        let LaneOptions { capacity, clients, port, answers } = options;
        let capacity = capacity.clamp(1, MAX_LANE_ENDS);
        let cpus = nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
        let allowance = answers.map_or([0; 2], Allowance::to_words);
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(object::LANES, capacity)
            .map_max_entries(object::LANE_ADDRESSES, capacity)
            .map_max_entries(object::CLIENTS, clients.max(1))
            .map_max_entries(object::NETWORKS, clients.max(1))
            .map_max_entries(object::LANE_SENT, cpus.saturating_mul(capacity))
            .map_max_entries(object::LANE_DROPS, cpus.saturating_mul(capacity))
            .override_global(object::CAPACITY, &capacity, true)
            .override_global(object::TICK, &tick(), true)
            .override_global(object::PORT, &port, true)
            .override_global(object::ALLOWANCE, &allowance, true)
            .load(object::OBJECT)
            .map_err(|error| Error::Load { reason: chain(&error) })?;
        program_mut(&mut ebpf, object::SWITCH)?
            .load()
            .map_err(|error| Error::Program { program: object::SWITCH, reason: chain(&error) })?;
        let counters = CounterTable::of(&ebpf, cpus, capacity)?;
        Ok(Self {
            ebpf,
            lanes: vec![None; index(capacity)],
            used: 0,
            counters,
            attached: Vec::new(),
        })
    }

    /// Makes these the relay's own addresses, and no others: only what is sent to them is dropped
    /// or answered. Lanes go on without.
    ///
    /// # Errors
    ///
    /// When there are more than [`MAX_LOCALS`], or the map cannot be written. Then the old ones or
    /// some of both are in force.
    pub fn set_locals(&mut self, locals: impl IntoIterator<Item = IpAddr>) -> Result<(), Error> {
        let name = object::LOCALS;
        let map = self.ebpf.map_mut(name).ok_or(Error::Object { name })?;
        let mut map =
            HashMap::<_, [u8; 16], u32>::try_from(map).map_err(|_| Error::Object { name })?;
        let wanted: HashSet<[u8; 16]> =
            locals.into_iter().map(|ip| Address::from(ip).to_bytes()).collect();
        let room = usize::try_from(MAX_LOCALS).unwrap_or(0);
        if wanted.len() > room {
            let reason = format!("{} addresses are more than {room}", wanted.len());
            return Err(Error::Map { map: name, action: "fill", reason });
        }
        let known: Result<HashSet<_>, _> = map.keys().collect();
        let known = known.map_err(|error| failed(name, "read", &error))?;
        for gone in known.difference(&wanted) {
            map.remove(gone).map_err(|error| failed(name, "remove from", &error))?;
        }
        for address in wanted.difference(&known) {
            map.insert(address, 1, 0).map_err(|error| failed(name, "write", &error))?;
        }
        Ok(())
    }

    /// Puts a lane in its place, or another binding of the lane that is there: that one keeps its
    /// counters.
    ///
    /// # Errors
    ///
    /// When there is no such place, another lane has it, or the map cannot be written; then the
    /// table is as before, or the lane is in nobody's hands until it is put in again.
    pub fn insert(&mut self, lane: Lane) -> Result<(), Error> {
        let place = lane.id().place();
        let refused = |reason| Error::Map { map: object::LANES, action: "add a lane to", reason };
        match self.lanes.get(index(place)) {
            None => return Err(refused(format!("there are {} places", self.lanes.len()))),
            Some(Some(id)) if *id != lane.id() => {
                return Err(refused(format!("lane {:08x} has place {place}", id.0)));
            }
            Some(Some(_)) => {}
            Some(None) => self.counters.clear(place),
        }
        self.lanes[index(place)] = Some(lane.id());
        self.used = self.used.max(place + 1);
        // A program that reads meanwhile sees, when it is done, that what it read is nobody's.
        self.take_away(place)?;
        let (slot, addresses) = lane.to_tables();
        self.put(object::LANE_ADDRESSES, place, addresses_line(addresses))?;
        self.write(place, slot.nobodys())?;
        self.write(place, slot)
    }

    /// Takes a lane out of the table, and says what it has sent; `None` if it was not there.
    ///
    /// # Errors
    ///
    /// When a map cannot be read or written.
    pub fn remove(&mut self, id: LaneId) -> Result<Option<LaneCounters>, Error> {
        if !self.has(id) {
            return Ok(None);
        }
        self.take_away(id.place())?;
        self.lanes[index(id.place())] = None;
        Ok(Some(self.counters.at(id.place())))
    }

    /// The way to an end that has spoken about its lane lately: back where that came from.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn way_to(&self, end: SocketAddr) -> Result<Option<Egress>, Error> {
        let name = object::ARRIVALS;
        let map = self.ebpf.map(name).ok_or(Error::Object { name })?;
        let map =
            HashMap::<_, [u64; 3], [u64; 2]>::try_from(map).map_err(|_| Error::Object { name })?;
        match map.get(&Sender::new(end.ip().into(), end.port()).to_words(), 0) {
            Ok(arrival) => Ok(Some(Arrival::from_words(arrival).back())),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(failed(name, "read", &error)),
        }
    }

    /// What a lane has sent since it was put in; `None` if it is not there.
    #[must_use]
    pub fn counters(&self, id: LaneId) -> Option<LaneCounters> {
        self.has(id).then(|| self.counters.at(id.place()))
    }

    /// What the whole switch has done since it was loaded.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn totals(&self) -> Result<LaneTotals, Error> {
        counters::totals(&self.ebpf, &self.counters, self.used)
    }

    /// The lanes that have sent most since they were put in, so many at most.
    #[must_use]
    pub fn busiest(&self, count: usize) -> Vec<(LaneId, LaneCounters)> {
        let ids = self.lanes.iter().take(index(self.used)).flatten();
        let mut lanes: Vec<_> = ids.map(|id| (*id, self.counters.at(id.place()))).collect();
        lanes.retain(|(_, lane)| lane.packets > 0 || lane.drops.iter().any(|count| *count > 0));
        lanes.sort_by_key(|(id, lane)| (std::cmp::Reverse(lane.bytes), *id));
        lanes.truncate(count);
        lanes
    }

    fn has(&self, id: LaneId) -> bool {
        self.lanes.get(index(id.place())) == Some(&Some(id))
    }

    /// Makes what is at this place nobody's, but leaves it readable.
    fn take_away(&mut self, place: u32) -> Result<(), Error> {
        let slot = self.read(place)?;
        self.write(place, slot.nobodys())
    }

    fn read(&mut self, place: u32) -> Result<LaneSlot, Error> {
        let bytes = lines(&mut self.ebpf, object::LANES)?.get(&place, 0);
        Ok(slot(bytes.map_err(|error| failed(object::LANES, "read", &error))?))
    }

    fn write(&mut self, place: u32, slot: LaneSlot) -> Result<(), Error> {
        self.put(object::LANES, place, slot_line(slot))
    }

    fn put(&mut self, name: &'static str, place: u32, line: Line) -> Result<(), Error> {
        let written = lines(&mut self.ebpf, name)?.set(place, line, 0);
        written.map_err(|error| failed(name, "write", &error))
    }
}

/// How long the kernel's tick is, in nanoseconds.
fn tick() -> u64 {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    u64::try_from(tick.tv_nsec).unwrap_or(0).clamp(1, COARSEST_CLOCK.0)
}

const fn index(place: u32) -> usize {
    place as usize
}

fn lines<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<Lines<'a>, Error> {
    let map = ebpf.map_mut(name).ok_or(Error::Object { name })?;
    Lines::try_from(map).map_err(|_| Error::Object { name })
}

fn program_mut<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, Error> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(Error::Object { name })
}

fn failed(map: &'static str, action: &'static str, error: &MapError) -> Error {
    Error::Map { map, action, reason: chain(error) }
}

#[allow(unsafe_code, reason = "map values are plain bytes to the kernel")]
fn slot_line(slot: LaneSlot) -> Line {
    // SAFETY: of the same size, and without padding, as `dataplane-common` asserts.
    unsafe { std::mem::transmute(slot) }
}

#[allow(unsafe_code, reason = "map values are plain bytes to the kernel")]
fn addresses_line(addresses: LaneAddresses) -> Line {
    // SAFETY: as above.
    unsafe { std::mem::transmute(addresses) }
}

#[allow(unsafe_code, reason = "map values are plain bytes to the kernel")]
fn slot(line: Line) -> LaneSlot {
    // SAFETY: of the same size, and every field is a number for which any bits will do.
    unsafe { std::mem::transmute(line) }
}
