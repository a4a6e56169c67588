//! Frames between relays.

use super::RelayId;
use crate::bytes::Reader;
use crate::key::PublicKey;
use crate::relay::{Batch, FrameError};
use crate::ticket::{NetworkId, SIGNATURE_LEN};

/// The most notices of a frame.
pub const MAX_NOTICES: usize = 512;

/// Types of frames: none is one of those between a node and a relay.
mod kind {
    pub(super) const HELLO: u8 = 64;
    pub(super) const NODES: u8 = 65;
    pub(super) const PACKETS: u8 = 66;
    pub(super) const ABSENT: u8 = 67;
    pub(super) const BEAT: u8 = 68;
    pub(super) const BEAT_BACK: u8 = 69;
}

/// A frame from another relay of the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeshFrame<'a> {
    /// "I am this relay."
    Hello(Box<Hello>),
    /// Who has come, moved or left; what was said before of others still holds.
    Nodes(Vec<Notice>),
    /// Packets from a node there to a node here.
    Packets {
        /// The network of both.
        network: NetworkId,
        /// Who sent them.
        from: PublicKey,
        /// Whose they are.
        to: PublicKey,
        /// What was sent.
        batch: Batch<'a>,
    },
    /// The node to which packets were sent is not here.
    Absent {
        /// The network of both.
        network: NetworkId,
        /// Who sent them.
        from: PublicKey,
        /// Who is not here.
        to: PublicKey,
    },
    /// "I am alive."
    Beat(u64),
    /// "I have seen your beat."
    BeatBack(u64),
}

/// A relay's proof of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Of the protocol.
    pub version: u16,
    /// Who says it.
    pub from: RelayId,
    /// To whom.
    pub to: RelayId,
    /// Over [`hello_message`](super::hello_message).
    pub signature: [u8; SIGNATURE_LEN],
}

/// Where a node is, as the relay says that speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The node's network.
    pub network: NetworkId,
    /// The node.
    pub node: PublicKey,
    /// Whether it is there.
    pub presence: Presence,
}

/// Whether a node is at a relay, and for how many milliseconds: how old, not since when, because two
/// relays need not have the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is not there.
    Gone,
    /// It is connected, but has its home elsewhere.
    Connected(u32),
    /// It is at home.
    Home(u32),
}

impl<'a> MeshFrame<'a> {
    /// Reads a frame: type and body.
    pub fn parse(frame: &'a [u8]) -> Result<Self, FrameError> {
        let (&kind, body) = frame.split_first().ok_or(FrameError::Empty)?;
        if !(kind::HELLO..=kind::BEAT_BACK).contains(&kind) {
            return Err(FrameError::UnknownType(kind));
        }
        Self::read(kind, Reader::new(body)).ok_or(FrameError::Malformed(kind))
    }

    fn read(kind: u8, mut reader: Reader<'a>) -> Option<Self> {
        let frame = match kind {
            kind::HELLO => Self::Hello(Box::new(Hello {
                version: reader.u16()?,
                from: RelayId(reader.u32()?),
                to: RelayId(reader.u32()?),
                signature: reader.array()?,
            })),
            kind::NODES => return read_notices(reader).map(Self::Nodes),
            kind::PACKETS => {
                return Some(Self::Packets {
                    network: NetworkId(reader.array()?),
                    from: PublicKey::from(reader.array()?),
                    to: PublicKey::from(reader.array()?),
                    batch: Batch::read(reader)?,
                });
            }
            kind::ABSENT => Self::Absent {
                network: NetworkId(reader.array()?),
                from: PublicKey::from(reader.array()?),
                to: PublicKey::from(reader.array()?),
            },
            kind::BEAT => Self::Beat(reader.u64()?),
            kind::BEAT_BACK => Self::BeatBack(reader.u64()?),
            _ => return None,
        };
        reader.end().map(|()| frame)
    }

    /// Appends type and body.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => {
                to.push(kind::HELLO);
                to.extend(hello.version.to_be_bytes());
                to.extend(hello.from.0.to_be_bytes());
                to.extend(hello.to.0.to_be_bytes());
                to.extend(hello.signature);
            }
            Self::Nodes(notices) => {
                to.push(kind::NODES);
                notices.iter().for_each(|notice| notice.write(to));
            }
            Self::Packets { network, from, to: receiver, batch } => {
                write_pair(kind::PACKETS, network, from, receiver, to);
                batch.write(to);
            }
            Self::Absent { network, from, to: receiver } => {
                write_pair(kind::ABSENT, network, from, receiver, to);
            }
            Self::Beat(number) => {
                to.push(kind::BEAT);
                to.extend(number.to_be_bytes());
            }
            Self::BeatBack(number) => {
                to.push(kind::BEAT_BACK);
                to.extend(number.to_be_bytes());
            }
        }
    }
}

fn write_pair(
    kind: u8,
    network: &NetworkId,
    from: &PublicKey,
    receiver: &PublicKey,
    to: &mut Vec<u8>,
) {
    to.push(kind);
    to.extend(network.0);
    to.extend(from.as_bytes());
    to.extend(receiver.as_bytes());
}

fn read_notices(mut reader: Reader<'_>) -> Option<Vec<Notice>> {
    let mut notices = Vec::new();
    while !reader.is_empty() {
        notices.push(Notice::read(&mut reader)?);
    }
    (1..=MAX_NOTICES).contains(&notices.len()).then_some(notices)
}

impl Notice {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let network = NetworkId(reader.array()?);
        let node = PublicKey::from(reader.array()?);
        let presence = match (reader.u8()?, reader.u32()?) {
            (0, 0) => Presence::Gone,
            (1, age) => Presence::Connected(age),
            (2, age) => Presence::Home(age),
            _ => return None,
        };
        Some(Self { network, node, presence })
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.network.0);
        to.extend(self.node.as_bytes());
        let (what, age) = match self.presence {
            Presence::Gone => (0, 0),
            Presence::Connected(age) => (1, age),
            Presence::Home(age) => (2, age),
        };
        to.push(what);
        to.extend(age.to_be_bytes());
    }
}
