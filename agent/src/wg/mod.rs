//! `nearwire wg IFNAME`: a userspace WireGuard that `wg` and `wg-quick` drive.
//!
//! One thread ([`worker`]) owns the interface, the port and the engine, and carries packets. The
//! main thread runs what is slow: the configuration socket ([`uapi`]), our own command socket
//! ([`rpc`]), signals, changes of the interface, and the policy in the kernel ([`policy`]). It
//! speaks to the worker by [`command::Command`].

mod background;
mod command;
mod device;
mod policy;
mod rpc;
mod socket;
mod uapi;
mod worker;

pub(crate) use device::{Options, run};
pub(crate) use policy::{PolicyStatus, read as read_policy};
pub(crate) use rpc::{Reply, Request, call};
