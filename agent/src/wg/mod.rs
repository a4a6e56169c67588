//! `nearwire wg IFNAME`: a userspace WireGuard that `wg` and `wg-quick` drive.
//!
//! Shards ([`shard`]) carry packets: each is a thread that owns a queue of the interface, a socket
//! of the port and the engine of its peers. The main thread runs what is slow: the configuration
//! socket ([`uapi`]), our own command socket ([`rpc`]), signals, changes of the interface, and the
//! policy in the kernel ([`policy`]). It speaks to the shards through the [`node`].

mod background;
mod command;
mod daemon;
mod device;
mod flows;
mod lasting;
mod node;
mod policy;
mod port;
mod rpc;
mod shard;
mod socket;
mod uapi;

pub(crate) use daemon::PolicyChange;
pub(crate) use device::{Interface, Options, run};
pub(crate) use flows::{Flows, Record};
pub(crate) use node::SharedNode;
pub(crate) use policy::{
    Explanation, Files, KnownNode, Legend, NamedText, PolicyStatus, Proposal, Question,
};
pub(crate) use rpc::{Reply, Request, call, listen, only_interface};
