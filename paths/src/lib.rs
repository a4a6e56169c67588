//! Which way to each peer: directly, over which addresses, or by a relay.
//!
//! Traffic begins by the relay. While there is some, [`Paths`] looks for a direct way beside it: it
//! calls the peer through the relay, both ping all addresses of the other, and NATs open on the way.
//! A way is used when a ping on it has just been answered, which proves both directions; it is
//! pinged on while it is used, and left when answers stay away, when packets are lost on it, or when
//! it carries pings but not the tunnel. Idle peers are sent nothing.
//!
//! Sans-IO: probes come in as [`Paths::handle_probe`], what the engine counts as
//! [`Paths::observe`], time as [`Paths::handle_timeout`] (due at [`Paths::poll_timeout`]); what is to
//! be done is asked for by [`Paths::poll_action`]. One agent for each peer, no clock, no sockets;
//! randomness is handed in.
//!
//! - [`select`]: the choice itself, a function of evidence.
//! - `peer`: what is known of one peer, and what probes do to it.
//! - `search`: when to call and to ping.
//! - `keepalive`: how often the way in use is pinged while it is quiet.
//! - `mtu`: how much the way in use carries.
//! - `birthday`: a hard NAT against an easy one that filters.
#![forbid(unsafe_code)]

mod agents;
mod birthday;
mod book;
mod budget;
mod candidates;
mod evidence;
mod explain;
mod keepalive;
mod loss;
mod mtu;
mod peer;
mod refusal;
mod route;
mod search;
pub mod select;

pub use agents::{Action, Counters, Paths};
pub use birthday::{GUESSES, SPARES};
pub use candidates::{MOST_CANDIDATES, Origin};
pub use evidence::{Evidence, Fault};

pub use explain::{Allowed, Explained, ExplainedCandidate, Limit, Why};
pub use mtu::usual as usual_length;
pub use peer::{Observed, Own, Theirs};
pub use refusal::{Refusal, Refusals};
pub use route::{Choice, Route, Rule, SocketId, Via};
