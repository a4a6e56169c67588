//! What the kernel programs and the user half share: limits, map keys and values, header parsing,
//! the verdict, and the reasons for which a packet is dropped. `no_std`, no dependencies.
#![no_std]
#![forbid(unsafe_code)]

mod drop_reason;

pub use drop_reason::{DROP_REASONS, DropReason};
