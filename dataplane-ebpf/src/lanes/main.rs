//! The relay's kernel half: it runs `dataplane_common::switch` on every frame of an interface, and
//! only lends it the frame, the maps and the clock.
#![no_std]
#![no_main]

#[path = "../base.rs"]
mod base;
mod frame;
mod maps;
mod reflect;
mod switch;
mod table;
mod wire;
