//! How long flows live, by a clock that the test moves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use dataplane::{
    Direction, Direction::In, Direction::Out, DropReason, EndReason, EventKind, FlowTable, Model,
    Nanos, Verdict,
};
use support::{ACK, FIN, ICMP, RST, SCTP, SYN, TCP, UDP, compiled};

const GRE: u8 = 47;

/// Whatever the peer opens is allowed; what the host opens, if the port is 1.
const RULES: &str = r#"
    { "action": "accept", "src": ["10.0.0.7"], "dst": ["10.0.0.2:*"] },
    { "action": "accept", "src": ["10.0.0.7"], "dst": ["10.0.0.2:*"], "proto": "gre" },
    { "action": "accept", "src": ["10.0.0.7"], "dst": ["10.0.0.2:*"], "proto": "sctp" },
    { "action": "accept", "src": ["10.0.0.2"], "dst": ["10.0.0.7:1"], "proto": "udp" },
    { "action": "accept", "src": ["10.0.0.2"], "dst": ["10.0.0.7:1"], "proto": "tcp" }
"#;

const PEER: [u8; 4] = [10, 0, 0, 7];
const HOST: [u8; 4] = [10, 0, 0, 2];

/// A clock and what is remembered.
struct Node {
    now: u64,
    model: Model,
}

impl Default for Node {
    fn default() -> Self {
        Self { now: 0, model: Model::new(&compiled(RULES)) }
    }
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
        match self.model.judge(direction, &packet, Nanos(self.now)) {
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
    assert_eq!(node.model.flows(FlowTable::Opening).count(), 0);
    let flow = node.model.flows(FlowTable::Answered).next().unwrap();
    assert_eq!((flow.received.packets, flow.received.bytes), (3, 102));
    assert_eq!((flow.sent.packets, flow.sent.bytes), (1, 34));
    assert_eq!((flow.opened, flow.seen), (Nanos::from_secs(5), Nanos::from_secs(8)));
}

#[test]
fn ends_are_told_once() {
    let end = EventKind::End;
    let mut node = Node::default();
    assert_eq!(node.packet(In, TCP, SYN), New);
    assert_eq!(node.packet(Out, TCP, RST | ACK), Known);
    assert_eq!(node.packet(Out, TCP, RST | ACK), Known);
    assert_eq!(node.packet(In, TCP, SYN), New);
    assert_eq!(node.later(241).packet(In, TCP, SYN), New);
    let told = [
        EventKind::Start,
        end(EndReason::Closed),
        EventKind::Start,
        end(EndReason::Expired),
        EventKind::Start,
    ];
    let kinds: Vec<EventKind> =
        node.model.take_events().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, told);
}
