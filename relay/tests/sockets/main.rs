//! A relay and its clients with real sockets on loopback.

mod acme;
mod bottleneck;
mod certificates;
mod client;
mod ending;
mod fairness;
mod lane;
mod loris;
mod memory;
mod operators;
mod refusals;
mod scene;
mod strangers;
mod threads;
mod ways;
