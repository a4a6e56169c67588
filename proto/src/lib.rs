//! nearwire's wire formats: bytes and text to types and back. Pure: no I/O, no clock, no
//! randomness. Everything is parsed once, here; past this crate a value cannot be malformed.
//!
//! - [`key`]: WireGuard keys, as 32 bytes that print as base64 or hexadecimal.
//! - [`message`]: the outside of WireGuard messages, as far as it is readable without keys.
//! - [`uapi`]: the cross-platform userspace configuration protocol.
#![forbid(unsafe_code)]

pub mod key;
pub mod message;
pub mod uapi;
