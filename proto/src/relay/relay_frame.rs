//! What a relay says to a node.

use std::net::SocketAddr;

use super::{Batch, FrameError, LaneRefused, Refusal, kind};
use crate::bytes::{Reader, address_bytes};
use crate::key::PublicKey;
use crate::lane::{LaneId, LaneSecret};
use crate::ticket::UnixSeconds;

/// The most addresses of a relay that a lane may be reached at.
pub const MAX_LANE_ADDRESSES: usize = 8;

/// A frame from a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayFrame<'a> {
    /// "I speak this version; sign this nonce."
    Challenge(u16, [u8; 32]),
    /// "You are admitted."
    Welcome(Welcome),
    /// Packets from a peer.
    Received(PublicKey, Batch<'a>),
    /// The peer to which a packet was sent is not here.
    PeerGone(PublicKey),
    /// Here is a lane, asked for or offered.
    LaneOpened(LaneOpened),
    /// There is no lane to this peer.
    LaneRefused(PublicKey, LaneRefused),
    /// The lane is no more.
    LaneClosed(LaneId),
    /// "I end in so many milliseconds: use another relay."
    Drain(u32),
    /// "I do not serve you."
    Refused(Refusal),
    /// "Are you there?"
    Ping(u64),
    /// "I am."
    Pong(u64),
}

/// What an admitted node may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// When the service ends, if no new ticket comes.
    pub until: UnixSeconds,
    /// Bytes a second.
    pub rate: u64,
    /// Lanes.
    pub lanes: u32,
    /// Seconds of silence after which the relay takes the node for gone.
    pub idle: u16,
}

/// One end of a lane, for the node that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneOpened {
    /// Who has the other end.
    pub peer: PublicKey,
    /// The id of the node's end.
    pub lane: LaneId,
    /// What the node proves its address with.
    pub secret: LaneSecret,
    /// Seconds of silence after which the node's address is forgotten.
    pub lifetime: u16,
    /// Where the relay takes lane datagrams; at most [`MAX_LANE_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
}

impl<'a> RelayFrame<'a> {
    /// Reads a frame: type and body.
    pub fn parse(frame: &'a [u8]) -> Result<Self, FrameError> {
        let (&kind, body) = frame.split_first().ok_or(FrameError::Empty)?;
        let ours = (kind::CHALLENGE..=kind::REFUSED).contains(&kind);
        if !ours && kind != kind::PING && kind != kind::PONG {
            return Err(FrameError::UnknownType(kind));
        }
        Self::read(kind, Reader::new(body)).ok_or(FrameError::Malformed(kind))
    }

    fn read(kind: u8, mut reader: Reader<'a>) -> Option<Self> {
        let frame = match kind {
            kind::CHALLENGE => Self::Challenge(reader.u16()?, reader.array()?),
            kind::WELCOME => Self::Welcome(Welcome {
                until: UnixSeconds(reader.u64()?),
                rate: reader.u64()?,
                lanes: reader.u32()?,
                idle: reader.u16()?,
            }),
            kind::RECEIVED => {
                return Some(Self::Received(
                    PublicKey::from(reader.array()?),
                    Batch::read(reader)?,
                ));
            }
            kind::PEER_GONE => Self::PeerGone(PublicKey::from(reader.array()?)),
            kind::LANE_OPENED => return LaneOpened::read(reader).map(Self::LaneOpened),
            kind::LANE_REFUSED => Self::LaneRefused(
                PublicKey::from(reader.array()?),
                LaneRefused::from_code(reader.u8()?)?,
            ),
            kind::LANE_CLOSED => Self::LaneClosed(LaneId::from_number(reader.u32()?)?),
            kind::DRAIN => Self::Drain(reader.u32()?),
            kind::REFUSED => Self::Refused(Refusal::from_code(reader.u8()?)?),
            kind::PING => Self::Ping(reader.u64()?),
            kind::PONG => Self::Pong(reader.u64()?),
            _ => return None,
        };
        reader.end().map(|()| frame)
    }

    /// Appends type and body.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Challenge(version, nonce) => {
                to.push(kind::CHALLENGE);
                to.extend(version.to_be_bytes());
                to.extend(nonce);
            }
            Self::Welcome(welcome) => {
                to.push(kind::WELCOME);
                to.extend(welcome.until.0.to_be_bytes());
                to.extend(welcome.rate.to_be_bytes());
                to.extend(welcome.lanes.to_be_bytes());
                to.extend(welcome.idle.to_be_bytes());
            }
            Self::Received(peer, batch) => {
                to.push(kind::RECEIVED);
                to.extend(peer.as_bytes());
                batch.write(to);
            }
            Self::PeerGone(peer) => {
                to.push(kind::PEER_GONE);
                to.extend(peer.as_bytes());
            }
            Self::LaneOpened(opened) => opened.write(to),
            Self::LaneRefused(peer, why) => {
                to.push(kind::LANE_REFUSED);
                to.extend(peer.as_bytes());
                to.push(*why as u8);
            }
            Self::LaneClosed(lane) => {
                to.push(kind::LANE_CLOSED);
                to.extend(lane.get().to_be_bytes());
            }
            Self::Drain(milliseconds) => {
                to.push(kind::DRAIN);
                to.extend(milliseconds.to_be_bytes());
            }
            Self::Refused(why) => to.extend([kind::REFUSED, *why as u8]),
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

impl LaneOpened {
    fn read(mut reader: Reader<'_>) -> Option<Self> {
        let mut opened = Self {
            peer: PublicKey::from(reader.array()?),
            lane: LaneId::from_number(reader.u32()?)?,
            secret: LaneSecret::from(reader.array::<16>()?),
            lifetime: reader.u16()?,
            addresses: Vec::new(),
        };
        while !reader.is_empty() {
            opened.addresses.push(reader.address()?);
        }
        (opened.addresses.len() <= MAX_LANE_ADDRESSES).then_some(opened)
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.push(kind::LANE_OPENED);
        to.extend(self.peer.as_bytes());
        to.extend(self.lane.get().to_be_bytes());
        to.extend(self.secret.as_bytes());
        to.extend(self.lifetime.to_be_bytes());
        to.extend(self.addresses.iter().flat_map(|&address| address_bytes(address)));
    }
}
