//! The client side of nearwire's relay, without its sockets.
//!
//! - [`Session`]: a connection, over QUIC or TLS: admission, then frames both ways.
//! - [`LaneEnd`]: an end of a lane over UDP: proves its address, keeps it, and proves it anew when it
//!   changes.
//! - [`Homing`]: which relay of a region is home, and how a node moves to another without a loss.
//!
//! Sans-IO: bytes come in as slices, what is to be sent is asked for, the time is an argument.
#![forbid(unsafe_code)]

mod homing;
mod lane;
mod session;

pub use homing::{Action, ConnectionId, Homing, LINGER, Path, RelayIndex};
pub use lane::{LaneEnd, LaneEvent};
pub use session::{Event, Session, SessionError};
