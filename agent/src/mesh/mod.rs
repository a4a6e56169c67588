//! A node of a mesh: what `nearwire up` makes of an interface, by the word of a control plane.
//!
//! Pure: what a netmap makes of the interface ([`wanted`]), the difference to what it is
//! ([`steps`]), which way to a peer ([`paths`]), when keys change ([`rotation`]). Around them: the
//! line to the control plane ([`control`]), relays ([`relay`]), the interface ([`interface`]), what
//! is kept on disk ([`store`]), and the [`session`] that holds them together. The [`daemon`] serves
//! the commands.

mod backoff;
mod control;
mod daemon;
mod interface;
mod names;
mod paths;
mod reflexive;
mod relay;
mod rotation;
pub(crate) mod rpc;
mod secret;
mod session;
mod state;
mod status;
mod steps;
pub(crate) mod store;
mod wanted;

pub(crate) use daemon::{Options, run};
pub(crate) use state::Settings;
pub(crate) use status::{PeerStatus, Status};
