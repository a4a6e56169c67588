//! What is to be done, as a relay leaves it for its shell.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use proto::key::PublicKey;
use proto::relay::{Batch, RelayFrame};

use super::mesh::{LinkId, ToLink};
use super::queue::Queued;
use super::{ClientId, SwitchChange};

/// Packets for a client: one datagram, or several of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sent them.
    pub from: PublicKey,
    /// The length of each datagram but the last.
    pub segment: u16,
    /// All bytes; never empty.
    pub payload: Bytes,
    /// When they came.
    pub at: Instant,
}

/// A batch's bytes out of the chunk in which they came, in memory at most twice as large: who waits
/// should not hold what came beside it.
pub(super) fn payload(chunk: &Bytes, batch: &Batch<'_>) -> Bytes {
    if batch.bytes().len() * 2 < chunk.len() {
        Bytes::copy_from_slice(batch.bytes())
    } else {
        chunk.slice_ref(batch.bytes())
    }
}

impl Packet {
    /// How many datagrams it is.
    #[must_use]
    pub fn count(&self) -> usize {
        self.payload.len().div_ceil(usize::from(self.segment).max(1))
    }
}

impl Queued for Packet {
    fn sender(&self) -> PublicKey {
        self.from
    }

    fn bytes(&self) -> usize {
        self.payload.len()
    }

    fn datagrams(&self) -> usize {
        self.count()
    }

    fn at(&self) -> Instant {
        self.at
    }
}

/// What a connection is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<P = Packet, F = RelayFrame<'static>> {
    /// A frame that is no packet; these come first.
    Control(F),
    /// Packets.
    Packet(P),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Write this to a client's connection, and say so by [`Relay::written`](super::Relay::written).
    Deliver(ClientId, Delivery),
    /// End a connection, after what was delivered before.
    Close(ClientId),
    /// Write this to a link to another relay, and say so by
    /// [`Relay::link_written`](super::Relay::link_written).
    Link(LinkId, ToLink),
    /// End a link.
    CloseLink(LinkId),
    /// Change the table of lanes.
    Switch(SwitchChange),
    /// The relay has ended its service.
    End,
}

/// A datagram, or several of one length, that were made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Where to.
    pub to: SocketAddr,
    /// From which address of ours.
    pub via: Option<IpAddr>,
    /// The length of each datagram but the last.
    pub segment: usize,
    /// All bytes.
    pub bytes: Vec<u8>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Output {
    /// In this order.
    pub commands: Vec<Command>,
    /// Datagrams to send.
    pub datagrams: Vec<Made>,
}
