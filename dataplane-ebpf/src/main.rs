//! The policy's kernel half. It runs `dataplane_common::verdict` on every packet of the tunnel
//! interface; this object only lends it the packet, the maps and the clock.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(internal_features, reason = "an exchange, for which there is no other way")]

mod base;
mod events;
mod flows;
mod maps;
mod packet;
mod policy;
mod state;
