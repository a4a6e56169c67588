//! What a node says to a relay.

use super::{Batch, FrameError, ProofSignature, kind};
use crate::bytes::Reader;
use crate::key::PublicKey;
use crate::lane::LaneId;
use crate::ticket::{SignedTicket, TICKET_LEN};

/// A frame from a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// "I speak this version."
    Hello(u16),
    /// "I may be served, and I am who I say."
    Proof(Box<Proof>),
    /// Packets for a peer.
    Send(PublicKey, Batch<'a>),
    /// Whether this relay is the node's home.
    Home(bool),
    /// "I want a lane to this peer."
    OpenLane(PublicKey),
    /// "I do not need this lane any more."
    CloseLane(LaneId),
    /// "Are you there?"
    Ping(u64),
    /// "I am."
    Pong(u64),
}

/// A ticket, and a signature by the key that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The ticket, not verified.
    pub ticket: SignedTicket,
    /// Over [`proof_message`](super::proof_message).
    pub signature: ProofSignature,
}

impl<'a> ClientFrame<'a> {
    /// Reads a frame: type and body.
    pub fn parse(frame: &'a [u8]) -> Result<Self, FrameError> {
        let (&kind, body) = frame.split_first().ok_or(FrameError::Empty)?;
        if !(kind::HELLO..=kind::PONG).contains(&kind) {
            return Err(FrameError::UnknownType(kind));
        }
        Self::read(kind, Reader::new(body)).ok_or(FrameError::Malformed(kind))
    }

    fn read(kind: u8, mut reader: Reader<'a>) -> Option<Self> {
        let frame = match kind {
            kind::HELLO => Self::Hello(reader.u16()?),
            kind::PROOF => {
                let ticket = SignedTicket::parse(&reader.array::<TICKET_LEN>()?).ok()?;
                Self::Proof(Box::new(Proof { ticket, signature: reader.array()? }))
            }
            kind::SEND => {
                return Some(Self::Send(PublicKey::from(reader.array()?), Batch::read(reader)?));
            }
            kind::HOME => Self::Home(match reader.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            }),
            kind::OPEN_LANE => Self::OpenLane(PublicKey::from(reader.array()?)),
            kind::CLOSE_LANE => Self::CloseLane(LaneId::from_number(reader.u32()?)?),
            kind::PING => Self::Ping(reader.u64()?),
            kind::PONG => Self::Pong(reader.u64()?),
            _ => return None,
        };
        reader.end().map(|()| frame)
    }

    /// Appends type and body.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Hello(version) => {
                to.push(kind::HELLO);
                to.extend(version.to_be_bytes());
            }
            Self::Proof(proof) => {
                to.push(kind::PROOF);
                to.extend(proof.ticket.as_bytes());
                to.extend(proof.signature);
            }
            Self::Send(peer, batch) => {
                to.push(kind::SEND);
                to.extend(peer.as_bytes());
                batch.write(to);
            }
            Self::Home(home) => to.extend([kind::HOME, u8::from(*home)]),
            Self::OpenLane(peer) => {
                to.push(kind::OPEN_LANE);
                to.extend(peer.as_bytes());
            }
            Self::CloseLane(lane) => {
                to.push(kind::CLOSE_LANE);
                to.extend(lane.get().to_be_bytes());
            }
            Self::Ping(number) => {
                to.push(kind::PING);
                to.extend(number.to_be_bytes());
            }
            Self::Pong(number) => {
                to.push(kind::PONG);
                to.extend(number.to_be_bytes());
            }
        }
    }
}
