//! A relay and its clients with real sockets on loopback.

mod client;
mod lane;
mod operators;
mod refusals;
mod scene;
mod strangers;
mod ways;
