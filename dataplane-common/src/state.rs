//! Where flows and fragmented datagrams are remembered.

use crate::{
    ANSWERED_SETS, Event, EventKind, Flow, FlowKey, Fragment, FragmentKey, Nanos, OPENING_SETS,
};

/// The two tables of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowTable {
    /// Of those that were answered.
    Answered,
    /// Of those that were not, yet.
    Opening,
}

impl FlowTable {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Answered, Self::Opening];

    /// Its number, for where a signature must not have an enum; zero is none.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Answered => 1,
            Self::Opening => 2,
        }
    }

    /// The one of this number.
    #[inline(always)]
    #[must_use]
    pub const fn of_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Answered),
            2 => Some(Self::Opening),
            _ => None,
        }
    }

    /// How many sets the kernel's table has.
    #[inline(always)]
    #[must_use]
    pub const fn sets(self) -> u32 {
        match self {
            Self::Answered => ANSWERED_SETS,
            Self::Opening => OPENING_SETS,
        }
    }
}

/// What is remembered of earlier packets. It may forget at any time.
pub trait StateTable {
    /// The flow under `key`, in place.
    fn flow(&mut self, table: FlowTable, key: &FlowKey) -> Option<&mut Flow>;
    /// Copies the flow under `key`, and tells where it is.
    fn recall(&mut self, key: &FlowKey, copy: &mut Flow) -> Option<FlowTable> {
        FlowTable::ALL.into_iter().find(|table| match self.flow(*table, key) {
            Some(flow) => {
                *copy = *flow;
                true
            }
            None => false,
        })
    }
    /// Remembers a flow in place of what was under `key`.
    fn store_flow(&mut self, table: FlowTable, key: &FlowKey, flow: &Flow);
    /// Forgets the flow under `key`.
    fn remove_flow(&mut self, table: FlowTable, key: &FlowKey);
    /// The datagram under `key`.
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment>;
    /// Remembers the first fragment of a datagram that passed.
    fn store_fragment(&mut self, key: &FragmentKey, fragment: &Fragment);
    /// Whether an event of this kind is to be told now; if not, it is counted as lost.
    fn admit(&mut self, kind: EventKind, now: Nanos) -> bool;
    /// Tells an event.
    fn tell(&mut self, event: &Event);
}
