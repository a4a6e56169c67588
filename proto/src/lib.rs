//! nearwire's wire formats: bytes and text to types and back. Pure: no I/O, no clock, no
//! randomness. Everything is parsed once, here; past this crate a value cannot be malformed.
//!
//! - [`control`]: what a node and the control plane say to each other.
//! - [`key`]: WireGuard keys, as 32 bytes that print as base64 or hexadecimal.
//! - [`lane`]: WireGuard packets through a relay, in plain UDP.
//! - [`mesh`]: what relays of one region say to each other.
//! - [`message`]: the outside of WireGuard messages, as far as it is readable without keys.
//! - [`probe`]: what two nodes say to find ways to each other.
//! - [`relay`]: what a node and a relay say to each other.
//! - [`ticket`]: what the control plane signs so that a relay serves a node.
//! - [`uapi`]: the cross-platform userspace configuration protocol.
#![forbid(unsafe_code)]

mod bytes;
pub mod control;
pub mod key;
pub mod lane;
pub mod mesh;
pub mod message;
pub mod probe;
pub mod relay;
pub mod stun;
pub mod ticket;
pub mod uapi;
