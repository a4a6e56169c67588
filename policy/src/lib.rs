//! The policy: from the text that an operator writes to the tables that the kernel looks up.
//!
//! A document is HuJSON (JSON with comments and trailing commas) in the language of Tailscale's
//! and Headscale's policy files, of which it supports `acls` with addresses and prefixes:
//!
//! ```
//! let text = r#"{ "acls": [
//!     // Everyone of the office may open SSH and the web here.
//!     { "action": "accept", "src": ["10.0.0.0/24"], "dst": ["10.0.0.2:22,80-90"], "proto": "tcp" },
//! ] }"#;
//! let document = policy::Document::parse(text).unwrap();
//! let compiled = policy::compile(&document).unwrap();
//! # assert_eq!(compiled.rule_count(), 1);
//! ```
//!
//! What is not supported is refused by name, never ignored, and all of a file's errors are reported
//! at once. Everything that no rule accepts is denied.
#![forbid(unsafe_code)]

mod compile;
mod diagnostic;
mod document;
mod parse;
mod partition;
mod ports;
mod prefix;
mod selector;

pub use compile::{
    Class, CompileError, Compiled, Entry, Identity, MAX_MEMBERSHIPS, MAX_TABLE_ENTRIES, RuleIndex,
    compile,
};
pub use diagnostic::{Diagnostic, render};
pub use document::{
    Action, Destination, Document, MAX_DOCUMENT_BYTES, MAX_RULES, MAX_SELECTORS, Network, Packet,
    Protocols, Rule, has_ports,
};
pub use ports::{PortPrefix, PortRange};
pub use prefix::Prefix;
