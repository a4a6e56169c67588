//! A flow, or what became of one, as commands and logs show it: one JSON object a line.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dataplane_common::{Direction, FlowKey, Generation};
use proto::control::{FlowEvent, FlowRecord};
use proto::ticket::UnixSeconds;
use serde::{Deserialize, Serialize};

use crate::wg::policy::RuleText;

/// What happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Happened {
    /// It is open, at the time of the record.
    Open,
    /// It was opened.
    Start,
    /// It has ended, or has been silent for too long.
    End,
    /// Its first packet was dropped, or one after its grant was revoked.
    Denied,
}

/// Which way a flow was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// By a peer.
    In,
    /// By this host.
    Out,
}

/// One line of a flow log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When, in RFC 3339.
    pub(crate) time: String,
    /// What happened.
    pub(crate) event: Happened,
    /// Who opened it.
    pub(crate) direction: Way,
    /// The protocol's name, or its number.
    pub(crate) protocol: String,
    /// Its number, which those who read a log can do without.
    #[serde(skip)]
    pub(super) number: u8,
    /// Who sent the first packet.
    pub(crate) source: IpAddr,
    /// From this port; an echo's identifier for ICMP; absent for protocols without ports.
    pub(crate) source_port: u16,
    /// To whom.
    pub(crate) destination: IpAddr,
    /// To this port.
    pub(crate) destination_port: u16,
    /// The line of the rule that decided, if one did.
    pub(crate) rule_line: Option<u32>,
    /// What that says, if something happened by it: whoever reads a log has another policy by then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) rule: Option<String>,
    /// Its number in the network's policy, of which an older control plane tells no more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) network_rule: Option<u32>,
    /// Why it was denied, or is over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) reason: Option<String>,
    /// The policy that decided.
    pub(crate) generation: u32,
    /// What the peer has sent.
    pub(crate) received: Traffic,
    /// What this host has sent.
    pub(crate) sent: Traffic,
    /// How long it has been open, in milliseconds.
    pub(crate) duration_ms: u64,
}

/// What went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// Packets on the wire.
    pub(crate) packets: u64,
    /// Bytes from the IP header on.
    pub(crate) bytes: u64,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, protocol, source, destination, .. } = self;
        let event = match self.event {
            Happened::Open => "open",
            Happened::Start => "start",
            Happened::End => "end",
            Happened::Denied => "denied",
        };
        let way = match self.direction {
            Way::In => "in",
            Way::Out => "out",
        };
        let from = SocketAddr::new(*source, self.source_port);
        let to = SocketAddr::new(*destination, self.destination_port);
        write!(f, "{time} {event:<6} {way:<3} {protocol:<9} {from} -> {to}")?;
        if let Some(reason) = &self.reason {
            write!(f, "  {reason}")?;
        }
        if self.event == Happened::Open || self.event == Happened::End {
            let Traffic { packets, bytes } = self.received;
            write!(f, "  received {packets} packets, {bytes} bytes")?;
            let Traffic { packets, bytes } = self.sent;
            write!(f, "; sent {packets}, {bytes}")?;
            write!(f, "; {}", seconds(self.duration_ms))?;
        }
        if let Some(line) = self.rule_line {
            write!(f, "  line {line}")?;
        }
        if let Some(number) = self.network_rule {
            write!(f, "  rule {number}")?;
        }
        if let Some(rule) = self.rule.as_ref().filter(|_| self.rule_line.is_some()) {
            write!(f, ": {rule}")?;
        }
        Ok(())
    }
}

impl Record {
    /// As the control plane is told of it; nothing of a flow that only is open.
    pub(crate) fn told(&self) -> Option<FlowRecord> {
        let at = humantime::parse_rfc3339(&self.time).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(FlowRecord {
            at: UnixSeconds(at.as_secs()),
            event: self.event.told()?,
            protocol: self.number,
            source: self.source,
            source_port: self.source_port,
            destination: self.destination,
            destination_port: self.destination_port,
            packets: self.sent.packets.saturating_add(self.received.packets),
            bytes: self.sent.bytes.saturating_add(self.received.bytes),
            reason: self.reason.clone(),
        })
    }
}

impl Happened {
    pub(crate) const fn told(self) -> Option<FlowEvent> {
        match self {
            Self::Open => None,
            Self::Start => Some(FlowEvent::Start),
            Self::End => Some(FlowEvent::End),
            Self::Denied => Some(FlowEvent::Denied),
        }
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000)
}

/// What a record is about, as the kernel has it.
pub(super) struct Subject<'a> {
    pub(super) key: &'a FlowKey,
    pub(super) direction: Direction,
    pub(super) rule: Option<&'a RuleText>,
    pub(super) generation: Generation,
    pub(super) sent: dataplane_common::Traffic,
    pub(super) received: dataplane_common::Traffic,
    pub(super) duration: Duration,
}

impl Record {
    pub(super) fn new(
        at: SystemTime,
        event: Happened,
        reason: Option<&str>,
        subject: &Subject<'_>,
    ) -> Self {
        let key = subject.key;
        let (host, peer) =
            ((IpAddr::from(key.host), key.host_port()), (IpAddr::from(key.peer), key.peer_port()));
        let (direction, source, destination) = match subject.direction {
            Direction::In => (Way::In, peer, host),
            Direction::Out => (Way::Out, host, peer),
        };
        Self {
            time: humantime::format_rfc3339_millis(at).to_string(),
            event,
            direction,
            protocol: policy::protocol::name(key.protocol()),
            number: key.protocol(),
            source: source.0,
            source_port: source.1,
            destination: destination.0,
            destination_port: destination.1,
            rule_line: subject.rule.and_then(|rule| rule.place.line()),
            rule: subject.rule.map(|rule| rule.text.clone()),
            network_rule: subject.rule.and_then(|rule| rule.place.network()),
            reason: reason.map(str::to_owned),
            generation: subject.generation.0,
            received: subject.received.into(),
            sent: subject.sent.into(),
            duration_ms: u64::try_from(subject.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<dataplane_common::Traffic> for Traffic {
    fn from(counted: dataplane_common::Traffic) -> Self {
        Self { packets: counted.packets, bytes: counted.bytes }
    }
}
