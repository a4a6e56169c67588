//! The client side of nearwire's relay, without its sockets.
//!
//! - [`Session`]: a connection, over QUIC or TLS: admission, then frames both ways.
//! - [`LaneEnd`]: an end of a lane over UDP: proves its address, keeps it, and proves it anew when it
//!   changes.
//!
//! Sans-IO: bytes come in as slices, what is to be sent is asked for, the time is an argument.
#![forbid(unsafe_code)]

mod lane;
mod session;

pub use lane::{LaneEnd, LaneEvent};
pub use session::{Event, Session, SessionError};
