//! The policy's kernel half. It runs `dataplane_common::verdict` on every packet of the tunnel
//! interface; this object only lends it the packet, the maps and the clock.
#![no_std]
#![no_main]

mod base;
mod events;
mod maps;
mod packet;
mod policy;
mod state;
