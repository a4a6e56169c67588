//! What a node and the control plane say to each other: JSON over HTTPS.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /agent/v1/enrol` | [`EnrolRequest`] | [`EnrolResponse`] |
//! | `POST /agent/v1/challenge` | [`ChallengeRequest`] | [`ChallengeResponse`] |
//! | `POST /agent/v1/session` | [`SessionRequest`] | [`SessionResponse`] |
//! | `POST /agent/v1/renew` | [`RenewRequest`], bearer | [`RenewResponse`] |
//! | `POST /agent/v1/report` | [`Report`], bearer | nothing |
//! | `POST /agent/v1/leave` | nothing, bearer | nothing |
//! | `GET /agent/v1/stream?after=REVISION` | bearer | lines of [`Frame`], without end |
//! | `GET /relay/v1/revocations` | a relay's token, bearer | lines of [`RevocationFrame`], without end |
//!
//! A stream is an ordinary answer that never ends, of one JSON object a line, not a WebSocket: it
//! needs no upgrade, so it passes every proxy that passes downloads, and shares one HTTP/2
//! connection with the reports that go the other way. [`ALIVE_EVERY`] keeps idle timers away.
//!
//! Fields that a receiver does not know are ignored; a frame that has none that it knows, too. What
//! would change the meaning of a field is another version, of which both sides take the highest
//! that both speak.

mod enrol;
mod filter_edit;
mod frame;
mod netmap;
mod node_id;
mod path_kinds;
mod relaying;
mod report;
mod revocation;
mod session;
mod text;

use std::time::Duration;

pub use enrol::{AuthKey, EnrolRequest, EnrolResponse};
pub use filter_edit::{FilterEdit, SetDifference, SetEdit};
pub use frame::{Delta, End, EndReason, Frame, Snapshot};
pub use netmap::{
    Dns, Me, Netmap, Network, OutOfStep, Peer, Region, RegionId, Relay, RelayTicket, RuleLine,
    Standing,
};
pub use node_id::{NodeId, NodeIdError};
pub use path_kinds::{PathKind, PathKinds, PeerPaths};
pub use relaying::{ControlKey, RelayOffer, Relaying};
pub use report::{Applied, FlowEvent, FlowRecord, Report};
pub use revocation::{RevocationFrame, Revoked};
pub use session::{
    ChallengeRequest, ChallengeResponse, RenewRequest, RenewResponse, SessionRequest,
    SessionResponse,
};
pub use text::{Base64Signature, NetworkIdError};

/// The versions of the protocol that this code speaks, best first.
pub const VERSIONS: &[u16] = &[1];
/// How often the control plane writes to a stream at least.
pub const ALIVE_EVERY: Duration = Duration::from_secs(20);
/// The longest body of a request that a node sends.
pub const MAX_REQUEST: usize = 1 << 20;
/// The longest line of a stream that a node reads.
pub const MAX_FRAME: usize = 64 << 20;
/// The most endpoints of a node.
pub const MAX_ENDPOINTS: usize = 32;
/// The most routes of a node.
pub const MAX_ROUTES: usize = 256;
/// The most flows in one report.
pub const MAX_FLOWS: usize = 1_000;
/// The longest text of a field, in bytes.
pub const MAX_TEXT: usize = 255;

/// The best version that both sides speak.
#[must_use]
pub fn common_version(theirs: &[u16]) -> Option<u16> {
    VERSIONS.iter().copied().find(|version| theirs.contains(version))
}

/// A message that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is no JSON of this form.
    #[error("not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A field is larger than it may be.
    #[error("`{field}` is longer than {most}")]
    TooMuch {
        /// Which.
        field: &'static str,
        /// How long it may be.
        most: usize,
    },
    /// A certificate's hash that is none.
    #[error("`certificate` is no SHA-256 in hexadecimal")]
    Certificate,
    /// A text holds what a text of this kind cannot.
    #[error("`{field}` holds control characters")]
    Control {
        /// Which.
        field: &'static str,
    },
}

fn at_most(field: &'static str, length: usize, most: usize) -> Result<(), Malformed> {
    if length > most { Err(Malformed::TooMuch { field, most }) } else { Ok(()) }
}

/// A text that a person will read: short, and without control characters.
fn plain(field: &'static str, text: &str) -> Result<(), Malformed> {
    at_most(field, text.len(), MAX_TEXT)?;
    if text.chars().any(char::is_control) { Err(Malformed::Control { field }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
