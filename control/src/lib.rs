//! `nearwire-control`: who is in a network, and what each node has to know.
//!
//! [`core`] decides, and is pure. [`store`] keeps it. [`hub`] has the networks that are in use in
//! memory and tells nodes what changes; [`agents`] is the protocol of nodes, [`relays`] that of
//! relays, [`api`] that of operators, [`server`] the sockets under both, [`cli`] the commands.
#![forbid(unsafe_code)]

pub mod agents;
pub mod api;
pub mod app;
mod body;
pub mod cli;
pub mod clock;
pub mod core;
pub mod hub;
pub mod peer;
pub mod problem;
pub mod relays;
pub mod server;
pub mod store;
