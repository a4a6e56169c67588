//! How long flows live, by a clock that the test moves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::HashMap;

use dataplane_common::{
    Class, Direction, Direction::In, Direction::Out, DropReason, ExactKey, Flow, FlowKey,
    FlowTable, Fragment, FragmentKey, Generation, Identity, Nanos, PolicyTable, Ports, RuleIndex,
    RuleKey, Ruling, StateTable, TablePrefix, Traffic, Verdict, verdict,
};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const SCTP: u8 = 132;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Whatever the peer opens is allowed; what the host opens, if the port is 1.
struct Policy;

const PEER: [u8; 4] = [10, 0, 0, 7];
const HOST: [u8; 4] = [10, 0, 0, 2];

impl PolicyTable for Policy {
    fn generation(&self) -> Generation {
        Generation(1)
    }

    fn exact(&self, key: &ExactKey) -> Option<u64> {
        let asks = |source, destination, protocol| {
            let (identity, class) = (Identity(source), Class(destination));
            *key == ExactKey::ports(&RuleKey { identity, class, protocol, port: 0 })
        };
        let ruling = Ruling::allow(RuleIndex(0));
        (0..=u8::MAX).find_map(|protocol| {
            let from_peer = asks(7, 2, protocol).then(|| Ports::one(0, 0, ruling).0);
            from_peer.or_else(|| asks(2, 7, protocol).then(|| Ports::one(1, 16, ruling).0))
        })
    }

    fn longest(&self, prefix: &TablePrefix) -> Option<u32> {
        Some(u32::from(prefix.key.0[19]))
    }
}

#[derive(Default)]
struct State {
    answered: HashMap<FlowKey, Flow>,
    opening: HashMap<FlowKey, Flow>,
    fragments: HashMap<FragmentKey, Fragment>,
}

impl State {
    fn table(&mut self, table: FlowTable) -> &mut HashMap<FlowKey, Flow> {
        match table {
            FlowTable::Answered => &mut self.answered,
            FlowTable::Opening => &mut self.opening,
        }
    }
}

impl StateTable for State {
    fn flow(&mut self, table: FlowTable, key: &FlowKey) -> Option<&mut Flow> {
        self.table(table).get_mut(key)
    }

    fn store_flow(&mut self, table: FlowTable, key: &FlowKey, flow: &Flow) {
        self.table(table).insert(*key, *flow);
    }

    fn remove_flow(&mut self, table: FlowTable, key: &FlowKey) {
        self.table(table).remove(key);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        self.fragments.get(key).copied()
    }

    fn store_fragment(&mut self, key: &FragmentKey, fragment: &Fragment) {
        self.fragments.insert(*key, *fragment);
    }
}

/// A clock and what is remembered.
#[derive(Default)]
struct Node {
    now: u64,
    state: State,
}

/// What becomes of a packet.
#[derive(Debug, PartialEq)]
enum Is {
    New,
    Known,
    Dropped(DropReason),
}

use Is::{Dropped, Known, New};

impl Node {
    fn later(&mut self, seconds: u64) -> &mut Self {
        self.now += seconds * 1_000_000_000;
        self
    }

    /// A packet between the peer's port 9 and the host's port 1, or as a peer's echo.
    fn packet(&mut self, direction: Direction, protocol: u8, mark: u8) -> Is {
        let ports = match direction {
            In => [0, 9, 0, 1],
            Out => [0, 1, 0, 9],
        };
        self.between(direction, protocol, ports, mark)
    }

    /// A packet between the host's port 9 and the peer's port 1.
    fn host_opened(&mut self, direction: Direction, protocol: u8, mark: u8) -> Is {
        let ports = match direction {
            In => [0, 1, 0, 9],
            Out => [0, 9, 0, 1],
        };
        self.between(direction, protocol, ports, mark)
    }

    fn between(&mut self, direction: Direction, protocol: u8, ports: [u8; 4], mark: u8) -> Is {
        let mut packet = vec![0x45, 0, 0, 34, 0, 0, 0, 0, 64, protocol, 0, 0];
        let (source, destination) = match direction {
            In => (PEER, HOST),
            Out => (HOST, PEER),
        };
        packet.extend(source);
        packet.extend(destination);
        if protocol == ICMP {
            packet.extend([if direction == In { 8 } else { 0 }, 0, 0, 0, 0, 2, 0, 0]);
        } else {
            packet.extend(ports);
            packet.extend([0; 8]);
            packet.extend([mark, mark]);
        }
        let traffic = Traffic { packets: 1, bytes: packet.len() as u64 };
        let now = Nanos(self.now);
        match verdict(&packet[..], traffic, direction, now, &Policy, &mut self.state) {
            Verdict::Allow { flow_hit: true, .. } => Known,
            Verdict::Allow { flow_hit: false, .. } => New,
            Verdict::Drop { reason, .. } => Dropped(reason),
        }
    }
}

const GONE: Is = Dropped(DropReason::PolicyNoRule);

#[test]
fn udp_lives_thirty_seconds_until_it_is_answered() {
    let mut node = Node::default();
    assert_eq!(node.packet(In, UDP, 0), New);
    assert_eq!(node.later(30).packet(In, UDP, 0), Known);
    assert_eq!(node.later(31).packet(Out, UDP, 0), GONE);
    assert_eq!(node.packet(In, UDP, 0), New);
    assert_eq!(node.later(30).packet(Out, UDP, 0), Known);
    assert_eq!(node.later(300).packet(Out, UDP, 0), Known);
    assert_eq!(node.later(301).packet(Out, UDP, 0), GONE);
}

#[test]
fn other_protocols_have_lifetimes_of_their_own() {
    for (protocol, seconds) in [(ICMP, 60), (GRE, 600)] {
        let mut node = Node::default();
        assert_eq!(node.packet(In, protocol, 0), New);
        assert_eq!(node.later(seconds).packet(Out, protocol, 0), Known);
        assert_eq!(node.later(seconds + 1).packet(Out, protocol, 0), GONE, "{protocol}");
    }
}

#[test]
fn a_connection_has_four_minutes_to_open() {
    let mut node = Node::default();
    assert_eq!(node.packet(In, TCP, SYN), New);
    assert_eq!(node.later(240).packet(In, TCP, SYN), Known);
    assert_eq!(node.later(241).packet(Out, TCP, SYN | ACK), GONE);
}

#[test]
fn an_established_connection_may_idle_for_two_hours() {
    let idle = 2 * 3600 + 4 * 60;
    let mut node = Node::default();
    assert_eq!(node.packet(In, TCP, SYN), New);
    assert_eq!(node.packet(Out, TCP, SYN | ACK), Known);
    assert_eq!(node.later(idle).packet(Out, TCP, ACK), Known);
    assert_eq!(node.later(idle).packet(In, TCP, ACK), Known);
    assert_eq!(node.later(idle + 1).packet(In, TCP, ACK), Dropped(DropReason::PolicyNoSyn));
}

#[test]
fn a_closing_connection_has_four_minutes_and_a_closed_one_ten_seconds() {
    let mut node = Node::default();
    assert_eq!(node.packet(In, TCP, SYN), New);
    assert_eq!(node.packet(Out, TCP, SYN | ACK), Known);
    assert_eq!(node.packet(In, TCP, FIN | ACK), Known);
    assert_eq!(node.later(240).packet(Out, TCP, ACK), Known);
    assert_eq!(node.packet(Out, TCP, FIN | ACK), Known);
    // It lingers from its end on, however much is sent.
    assert_eq!(node.later(6).packet(In, TCP, ACK), Known);
    assert_eq!(node.later(4).packet(In, TCP, ACK), Known);
    assert_eq!(node.later(1).packet(In, TCP, ACK), Dropped(DropReason::PolicyNoSyn));
}

#[test]
fn a_reset_ends_a_connection_from_either_side() {
    for direction in [In, Out] {
        let mut node = Node::default();
        assert_eq!(node.packet(In, TCP, SYN), New);
        assert_eq!(node.packet(Out, TCP, SYN | ACK), Known);
        assert_eq!(node.packet(direction, TCP, RST), Known);
        assert_eq!(node.later(10).packet(Out, TCP, ACK), Known);
        assert_eq!(node.packet(In, TCP, SYN), New);
        assert_eq!(node.later(11).packet(In, TCP, SYN), Known);
        assert_eq!(node.later(241).packet(In, TCP, ACK), Dropped(DropReason::PolicyNoSyn));
    }
}

#[test]
fn an_association_idles_for_ten_minutes() {
    const INIT: u8 = 1;
    const SHUTDOWN_COMPLETE: u8 = 14;
    let mut node = Node::default();
    assert_eq!(node.packet(In, SCTP, 0), Dropped(DropReason::PolicyNoSyn));
    assert_eq!(node.packet(In, SCTP, INIT), New);
    assert_eq!(node.later(240).packet(Out, SCTP, 2), Known);
    assert_eq!(node.later(600).packet(Out, SCTP, 0), Known);
    assert_eq!(node.packet(In, SCTP, SHUTDOWN_COMPLETE), Known);
    assert_eq!(node.later(11).packet(In, SCTP, 0), Dropped(DropReason::PolicyNoSyn));
}

#[test]
fn a_peer_cannot_keep_a_flow_of_the_host_alive() {
    let mut node = Node::default();
    assert_eq!(node.host_opened(Out, UDP, 0), New);
    for _ in 0..10 {
        assert_eq!(node.later(30).host_opened(In, UDP, 0), Known);
    }
    assert_eq!(node.later(1).host_opened(In, UDP, 0), New);
    let mut node = Node::default();
    assert_eq!(node.packet(In, UDP, 0), New);
    assert_eq!(node.packet(Out, UDP, 0), Known);
    for _ in 0..10 {
        assert_eq!(node.later(200).packet(In, UDP, 0), Known);
    }
}

#[test]
fn flows_count_both_ways_and_remember_their_times() {
    let mut node = Node::default();
    node.later(5);
    assert_eq!(node.packet(In, UDP, 0), New);
    assert_eq!(node.later(1).packet(In, UDP, 0), Known);
    assert_eq!(node.later(1).packet(Out, UDP, 0), Known);
    assert_eq!(node.later(1).packet(In, UDP, 0), Known);
    assert!(node.state.opening.is_empty());
    let flow = node.state.answered.values().next().unwrap();
    assert_eq!((flow.received.packets, flow.received.bytes), (3, 102));
    assert_eq!((flow.sent.packets, flow.sent.bytes), (1, 34));
    assert_eq!((flow.opened, flow.seen), (Nanos::from_secs(5), Nanos::from_secs(8)));
}
