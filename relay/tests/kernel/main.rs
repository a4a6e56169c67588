//! The relay's process between hosts in namespaces, with the kernel switching its lanes.
#![allow(dead_code, reason = "what `sockets` tests with is used here in part")]

mod alike;
mod changes;
#[path = "../sockets/client.rs"]
mod client;
mod hosts;
#[path = "../sockets/lane.rs"]
mod lane;
mod process;
mod scene;
mod strangers;
mod stun;
mod switched;
