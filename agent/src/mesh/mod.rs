//! A node of a mesh: what `nearwire up` makes of an interface, by the word of a control plane.
//!
//! Pure: what a netmap makes of the interface ([`wanted`]), the difference to what it is
//! ([`steps`]), which way to a peer ([`paths`]), when keys change ([`rotation`]). Around them: the
//! line to the control plane ([`control`]), relays ([`relay`]), the interface ([`interface`]), what
//! is kept on disk ([`store`]), and the [`session`] that holds them together. The [`daemon`] serves
//! the commands.

mod backoff;
mod clocks;
mod control;
mod daemon;
mod enrol;
mod flows;
mod home;
mod interface;
mod kept_netmap;
mod keys;
mod legend;
mod links;
mod mapping;
mod metrics;
mod names;
mod nat64;
mod netcheck;
mod outside;
mod paths;
mod peer_relay;
mod reflexive;
mod relay;
mod rotation;
pub(crate) mod rpc;
mod running;
mod secret;
mod session;
mod state;
mod status;
mod steps;
pub(crate) mod store;
mod wanted;
mod whereabouts;

pub(crate) use self::mapping::MappingReport;
pub(crate) use self::paths::PathReport;
pub(crate) use daemon::{Options, Up, run};
pub(crate) use netcheck::NetReport;
pub(crate) use state::Settings;
pub(crate) use status::{PeerStatus, Status};
