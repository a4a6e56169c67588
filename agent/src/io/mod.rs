//! What the operating system gives us: the tunnel device, the UDP socket, the clock, word of
//! changes to the interface. The only place of this crate with `unsafe`, in `sys`.

pub(crate) mod clock;
pub(crate) mod divert;
pub(crate) mod echo;
pub(crate) mod gateway;
pub(crate) mod link;
pub(crate) mod masquerade;
pub(crate) mod network;
pub(crate) mod priority;
mod sys;
pub(crate) mod tun;
pub(crate) mod udp;

pub(crate) use sys::awaited;
