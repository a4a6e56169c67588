//! What becomes of flows on this node: counted, and told to the control plane if it asks. Pure.

use std::collections::VecDeque;

use proto::control::{FlowEvent, FlowRecord, MAX_FLOWS};
use serde::{Deserialize, Serialize};

/// Records that wait to be told; what comes on top is lost, and counted.
const WAITING: usize = 10_000;

/// What was seen of flows since the node came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowCounts {
    pub(crate) started: u64,
    pub(crate) ended: u64,
    pub(crate) denied: u64,
    /// Events that came faster than they were looked at.
    pub(crate) missed: u64,
    /// Records that were to be told and for which there was no room.
    pub(crate) lost: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct FlowReports {
    pub(crate) counts: FlowCounts,
    /// One record of so many is told; none at 0.
    one_of: u32,
    /// Those since the last one that was told.
    passed: u32,
    waiting: VecDeque<FlowRecord>,
}

impl FlowReports {
    /// The control plane wants one record of so many; none at 0.
    pub(crate) fn want(&mut self, one_of: u32) {
        if one_of == 0 {
            self.waiting.clear();
        }
        self.one_of = one_of;
    }

    /// Something became of a flow.
    pub(crate) fn take(&mut self, event: FlowEvent, record: impl FnOnce() -> Option<FlowRecord>) {
        match event {
            FlowEvent::Start => self.counts.started += 1,
            FlowEvent::End => self.counts.ended += 1,
            FlowEvent::Denied => self.counts.denied += 1,
        }
        if self.one_of == 0 {
            return;
        }
        self.passed += 1;
        if self.passed < self.one_of {
            return;
        }
        self.passed = 0;
        if self.waiting.len() >= WAITING {
            self.counts.lost += 1;
        } else {
            self.waiting.extend(record());
        }
    }

    /// Events came too fast.
    pub(crate) fn miss(&mut self, events: u64) {
        self.counts.missed += events;
    }

    /// What one report may hold, oldest first.
    pub(crate) fn batch(&mut self) -> Vec<FlowRecord> {
        let count = self.waiting.len().min(MAX_FLOWS);
        self.waiting.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proto::ticket::UnixSeconds;

    use super::*;

    fn record(port: u16) -> FlowRecord {
        FlowRecord {
            at: UnixSeconds(1),
            event: FlowEvent::Start,
            protocol: 6,
            source: Ipv4Addr::new(100, 64, 0, 1).into(),
            source_port: 40_000,
            destination: Ipv4Addr::new(100, 64, 0, 2).into(),
            destination_port: port,
            packets: 0,
            bytes: 0,
            reason: None,
        }
    }

    fn ports(flows: &mut FlowReports) -> Vec<u16> {
        flows.batch().iter().map(|flow| flow.destination_port).collect()
    }

    #[test]
    fn nothing_is_told_unless_it_is_asked_for_and_then_one_of_so_many() {
        let mut flows = FlowReports::default();
        flows.take(FlowEvent::Start, || Some(record(1)));
        assert!(flows.batch().is_empty());
        flows.want(3);
        (1..=9).for_each(|port| flows.take(FlowEvent::Denied, || Some(record(port))));
        assert_eq!(ports(&mut flows), [3, 6, 9]);
        assert_eq!((flows.counts.started, flows.counts.denied), (1, 9));
        flows.take(FlowEvent::End, || Some(record(1)));
        flows.want(0);
        assert!(flows.batch().is_empty());
    }

    #[test]
    fn what_waits_has_a_limit_and_leaves_in_parts() {
        let mut flows = FlowReports::default();
        flows.want(1);
        for _ in 0..WAITING + 5 {
            flows.take(FlowEvent::Start, || Some(record(1)));
        }
        assert_eq!(flows.counts.lost, 5);
        assert_eq!(flows.batch().len(), MAX_FLOWS);
        assert_eq!(flows.waiting.len(), WAITING - MAX_FLOWS);
    }
}
