//! The relay of nearwire: [`core`] decides what goes where, [`server`] has the sockets.
#![forbid(unsafe_code)]

pub mod core;
pub mod server;
