//! Where flows and fragmented datagrams are remembered.

use crate::{Flow, FlowKey, Fragment, FragmentKey};

/// The two tables of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowTable {
    /// Of those that were answered.
    Answered,
    /// Of those that were not, yet.
    Opening,
}

/// What is remembered of earlier packets. It may forget at any time.
pub trait StateTable {
    /// The flow under `key`, in place.
    fn flow(&mut self, table: FlowTable, key: &FlowKey) -> Option<&mut Flow>;
    /// Remembers a flow in place of what was under `key`.
    fn store_flow(&mut self, table: FlowTable, key: &FlowKey, flow: &Flow);
    /// Forgets the flow under `key`.
    fn remove_flow(&mut self, table: FlowTable, key: &FlowKey);
    /// The datagram under `key`.
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment>;
    /// Remembers the first fragment of a datagram that passed.
    fn store_fragment(&mut self, key: &FragmentKey, fragment: &Fragment);
}
