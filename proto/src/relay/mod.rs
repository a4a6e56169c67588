//! What a node and a relay say to each other, over QUIC or over TLS on TCP.
//!
//! A frame is a type (1 byte) and a body. On a stream its length stands in front, as 4 bytes that
//! count type and body; in a QUIC datagram it stands alone, and only packets go there. All integers
//! are big-endian.
//!
//! ```text
//! node                                        relay
//!   hello (version)                    ->
//!                                      <-     challenge (version, nonce)
//!   proof (ticket, signature)          ->
//!                                      <-     welcome, or refused and the end
//!   send, home, open lane, close lane  ->
//!                                      <-     received, peer gone, lane opened, lane refused,
//!                                             lane closed, drain, refused
//!   ping, pong                        <->     ping, pong
//! ```
//!
//! | type | from node | body |
//! |---|---|---|
//! | 1 | hello | version (2) |
//! | 2 | proof | ticket ([`TICKET_LEN`](crate::ticket::TICKET_LEN)), signature (64) over [`proof_message`] |
//! | 3 | send | to: key (32), segment (2), payload |
//! | 4 | home | 1: this relay is my home, 0: it is not (1) |
//! | 5 | open lane | peer: key (32) |
//! | 6 | close lane | lane id (4) |
//! | 7 | ping | number (8), both ways |
//! | 8 | pong | the same number (8), both ways |
//!
//! | type | from relay | body |
//! |---|---|---|
//! | 16 | challenge | version (2), nonce (32) |
//! | 17 | welcome | service ends: seconds since 1970 (8), bytes a second (8), lanes (4), idle seconds (2) |
//! | 18 | received | from: key (32), segment (2), payload |
//! | 19 | peer gone | peer: key (32) |
//! | 20 | lane opened | peer: key (32), lane id (4), secret (16), lifetime in seconds (2), relay addresses (18 each, up to 8) |
//! | 21 | lane refused | peer: key (32), [`LaneRefused`] (1) |
//! | 22 | lane closed | lane id (4) |
//! | 23 | drain | milliseconds until the relay ends (4) |
//! | 24 | refused | [`Refusal`] (1); the connection ends |
//!
//! A payload is one datagram or several of one length, the last of which may be shorter: `segment`
//! is that length, as for UDP segmentation offload ([`Batch`]).

mod batch;
mod client_frame;
mod refusal;
mod relay_frame;
mod stream;
mod upgrade;

pub use batch::{Batch, MAX_PAYLOAD, MAX_SEGMENTS};
pub use client_frame::{ClientFrame, Proof};
pub use refusal::{LaneRefused, Refusal};
pub use relay_frame::{LaneOpened, MAX_LANE_ADDRESSES, RelayFrame, Welcome};
pub use stream::{Framing, MAX_FRAME, finish_frame, split_frame, start_frame};
pub use upgrade::{Head, upgrade_request};

use crate::ticket::SIGNATURE_LEN;

/// The version of this protocol.
pub const VERSION: u16 = 1;
/// What QUIC and TLS call this protocol.
pub const ALPN: &[u8] = b"nearwire-relay/1";
/// The protocol's name in an HTTP upgrade.
pub const UPGRADE: &str = "nearwire-relay/1";
/// The path of the HTTP upgrade.
const UPGRADE_PATH: &str = "/relay";
/// The label under which both ends export 32 bytes from their TLS session; the context is empty.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-nearwire-relay-1";
/// What a data frame has in front of its payload: type, key and segment.
pub const DATA_HEADER_LEN: usize = 35;

/// Bytes that are no frame of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No such type in this direction.
    #[error("there is no frame of type {0} in this direction")]
    UnknownType(u8),
    /// The body is not what its type has.
    #[error("the body of a frame of type {0} is malformed")]
    Malformed(u8),
    /// No type at all.
    #[error("a frame without a type")]
    Empty,
    /// Longer than its place allows.
    #[error("a frame of {0} bytes is too long here")]
    TooLong(usize),
}

/// What a node signs to be admitted: it holds its key, on this very connection.
#[must_use]
pub fn proof_message(nonce: &[u8; 32], exporter: &[u8; 32]) -> Vec<u8> {
    [b"nearwire relay proof v1\0".as_slice(), nonce, exporter].concat()
}

/// A node's signature over [`proof_message`].
pub type ProofSignature = [u8; SIGNATURE_LEN];

/// Types of frames, each named once.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const PROOF: u8 = 2;
    pub(super) const SEND: u8 = 3;
    pub(super) const HOME: u8 = 4;
    pub(super) const OPEN_LANE: u8 = 5;
    pub(super) const CLOSE_LANE: u8 = 6;
    pub(super) const PING: u8 = 7;
    pub(super) const PONG: u8 = 8;
    pub(super) const CHALLENGE: u8 = 16;
    pub(super) const WELCOME: u8 = 17;
    pub(super) const RECEIVED: u8 = 18;
    pub(super) const PEER_GONE: u8 = 19;
    pub(super) const LANE_OPENED: u8 = 20;
    pub(super) const LANE_REFUSED: u8 = 21;
    pub(super) const LANE_CLOSED: u8 = 22;
    pub(super) const DRAIN: u8 = 23;
    pub(super) const REFUSED: u8 = 24;
}
