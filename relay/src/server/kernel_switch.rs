//! The table of lanes in the kernel, kept as the one in user space is. What is not known well enough
//! to be switched there is passed up.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use dataplane::{Egress, Error, Lane, LaneCounters, LaneSwitch, LaneTotals};
use proto::lane::LaneId;
use tokio::sync::oneshot;

use super::interfaces::Interface;
use super::xdp::{Places, XdpStatus};
use crate::core::{LaneEntry, SwitchChange};

/// Lanes that an operator is shown.
const BUSIEST: usize = 10;
/// Where the interface's MTU is not known: that of Ethernet.
const MTU: u16 = 1500;

/// The switch, and what is known of bound ends.
pub(super) struct KernelSwitch {
    switch: LaneSwitch,
    places: Places,
    /// Where the port of lanes is bound.
    bound: SocketAddr,
    /// By their places.
    ends: Vec<Option<End>>,
    mtus: HashMap<u32, u16>,
    /// Whoever waits for its end hears that this is gone.
    _held: oneshot::Sender<Infallible>,
}

/// A bound end.
#[derive(Clone, Copy)]
struct End {
    id: LaneId,
    entry: LaneEntry,
    /// The way to it: back where it was heard from last.
    way: Option<Egress>,
}

/// What the kernel has counted.
#[derive(Clone, Debug)]
pub(super) struct KernelReport {
    pub(super) totals: LaneTotals,
    /// The lanes that carry most.
    pub(super) busiest: Vec<(LaneId, LaneCounters)>,
}

impl KernelSwitch {
    pub(super) fn new(
        switch: LaneSwitch,
        bound: SocketAddr,
        places: Places,
        held: oneshot::Sender<Infallible>,
    ) -> Self {
        Self { switch, places, bound, ends: Vec::new(), mtus: HashMap::new(), _held: held }
    }

    /// Where it hangs.
    pub(super) fn xdp(&self) -> XdpStatus {
        self.places.status()
    }

    /// Goes by these interfaces: it hangs on those that are meant, their addresses are the relay's
    /// own, their MTUs the room.
    pub(super) fn follow(&mut self, interfaces: &[Interface]) -> Result<(), Error> {
        self.places.follow(&mut self.switch, interfaces)?;
        self.leave(interfaces)?;
        self.mtus = interfaces.iter().map(|at| (at.index, at.mtu)).collect();
        let bound = self.bound.ip().to_canonical();
        let locals: Vec<IpAddr> = if bound.is_unspecified() {
            let others = interfaces.iter().filter(|at| !at.loopback);
            others.flat_map(|at| at.addresses.iter().copied()).collect()
        } else {
            // Other addresses' ports may be other programs'.
            vec![bound]
        };
        self.switch.set_locals(locals)
    }

    /// Does what the relay says.
    pub(super) fn change(&mut self, change: SwitchChange) -> Result<(), Error> {
        self.note(change)?;
        match change {
            SwitchChange::Insert(id, _) => self.write(id),
            SwitchChange::Remove(id) => self.switch.remove(id).map(drop),
            SwitchChange::Client(..) | SwitchChange::Network(..) => Ok(()),
        }
    }

    /// Takes the lanes that there are, all of which it has to know before it writes the first.
    pub(super) fn fill(&mut self, lanes: impl Iterator<Item = SwitchChange>) -> Result<(), Error> {
        for change in lanes {
            self.note(change)?;
        }
        let known: Vec<LaneId> = self.ends.iter().flatten().map(|end| end.id).collect();
        known.into_iter().try_for_each(|id| self.write(id))
    }

    fn note(&mut self, change: SwitchChange) -> Result<(), Error> {
        match change {
            SwitchChange::Client(place, rate, network) => {
                self.switch.allow_client(place, rate, network)?;
            }
            SwitchChange::Network(place, rate) => self.switch.allow_network(place, rate)?,
            SwitchChange::Insert(id, entry) => {
                let known = self.end(id).filter(|end| end.entry.from == entry.from);
                let known = known.and_then(|end| end.way);
                let way = self.switch.way_to(entry.from)?.or(known);
                let place = id.place() as usize;
                if place >= self.ends.len() {
                    self.ends.resize(place + 1, None);
                }
                self.ends[place] = Some(End { id, entry, way });
            }
            SwitchChange::Remove(id) => {
                if self.end(id).is_some() {
                    self.ends[id.place() as usize] = None;
                }
            }
        }
        Ok(())
    }

    /// An end has said that it is still there: the way back may be another now.
    pub(super) fn heard(&mut self, id: LaneId, from: SocketAddr) -> Result<(), Error> {
        let Some(end) = self.end(id).filter(|end| end.entry.from == from) else { return Ok(()) };
        let way = self.switch.way_to(from)?;
        if way.is_none() || way == end.way {
            return Ok(());
        }
        self.ends[id.place() as usize] = Some(End { way, ..end });
        end.entry.to.map_or(Ok(()), |other| self.write(other.lane))
    }

    /// Forgets the ways by interfaces that are gone: what would leave by them is passed up.
    fn leave(&mut self, interfaces: &[Interface]) -> Result<(), Error> {
        let is_gone = |end: &&End| match end.way {
            Some(Egress::Neighbour { interface, .. }) => {
                interfaces.iter().all(|at| at.index != interface)
            }
            _ => false,
        };
        let lost: Vec<End> = self.ends.iter().flatten().filter(is_gone).copied().collect();
        for end in lost {
            self.ends[end.id.place() as usize] = Some(End { way: None, ..end });
            if let Some(other) = end.entry.to {
                self.write(other.lane)?;
            }
        }
        Ok(())
    }

    fn end(&self, id: LaneId) -> Option<End> {
        self.ends.get(id.place() as usize).copied().flatten().filter(|end| end.id == id)
    }

    /// Writes what is known of an end.
    fn write(&mut self, id: LaneId) -> Result<(), Error> {
        let Some(end) = self.end(id) else { return Ok(()) };
        match self.lane(&end) {
            Some(lane) => self.switch.insert(lane),
            None => self.switch.remove(id).map(drop),
        }
    }

    /// The end as the kernel is to have it: not bound to the other one if the way there is not known,
    /// so that its data is passed up.
    fn lane(&self, end: &End) -> Option<Lane> {
        let way = end.entry.to.and_then(|to| {
            self.end(to.lane).filter(|other| other.entry.from == to.to).and_then(|other| other.way)
        });
        let Some(way) = way else {
            return LaneEntry { to: None, ..end.entry }.to_lane(end.id);
        };
        let mtu = match way {
            Egress::Neighbour { interface, .. } => self.mtus.get(&interface).copied(),
            Egress::Back => None,
        };
        let lane = end.entry.to_lane(end.id)?;
        Some(lane.leaving_by(way).with_mtu(mtu.unwrap_or(MTU)))
    }

    /// What was counted.
    pub(super) fn report(&self) -> Result<KernelReport, Error> {
        Ok(KernelReport { totals: self.switch.totals()?, busiest: self.switch.busiest(BUSIEST) })
    }
}
