//! The steering's kernel half: both directions of a peer's traffic arrive at the thread that owns
//! the peer. An object of its own, for a node may have a policy without shards and the reverse.
#![no_std]
#![no_main]

#[path = "../base.rs"]
mod base;
mod datagrams;
mod maps;
mod tunnel;
