//! The policy: from the text that an operator writes to the tables that the kernel looks up.
//!
//! A document is HuJSON (JSON with comments and trailing commas) in the language of Tailscale's
//! and Headscale's policy files. What it means depends on the nodes: who owns them, which tags and
//! addresses they have.
//!
//! ```
//! let text = r#"{
//!     "groups": { "group:dev": ["alice@example.com"] },
//!     "tagOwners": { "tag:web": ["group:dev"] },
//!     "acls": [
//!         // Whoever develops may open SSH and the web on the servers.
//!         { "action": "accept", "src": ["group:dev"], "dst": ["tag:web:22,80-90"], "proto": "tcp" },
//!     ],
//! }"#;
//! let nodes = r#"{ "nodes": [
//!     { "name": "laptop", "user": "alice@example.com", "addresses": ["100.64.0.1", "fd7a::1"] },
//!     { "name": "web1", "tags": ["tag:web"], "addresses": ["100.64.0.2", "fd7a::2"] },
//! ] }"#;
//! let document = policy::Document::parse(text).unwrap();
//! let nodes = policy::Nodes::parse(nodes).unwrap();
//! let plan = policy::Plan::new(document, &nodes);
//! for (_, filter) in plan.filters() {
//!     assert_eq!(filter.compile().unwrap().rule_count(), 1);
//! }
//! ```
//!
//! What is not supported is refused by name, never ignored, and all of a file's errors are reported
//! at once. Everything that no rule accepts is denied.
#![forbid(unsafe_code)]

mod address_set;
mod compile;
mod decide;
mod diagnostic;
mod difference;
mod document;
mod ends;
mod excerpt;
mod filter;
mod hujson;
mod internet;
mod locator;
mod meaning;
mod names;
pub mod naming;
mod nodes;
mod parse;
mod plan;
mod ports;
mod prefix;
pub mod protocol;
mod query;
mod reader;
mod trial;

pub use address_set::AddressSet;
pub use compile::{
    Class, CompileError, Compiled, Entry, Identity, MAX_MEMBERSHIPS, MAX_TABLE_ENTRIES, RuleIndex,
    compile, compile_with,
};
pub use decide::Decider;
pub use diagnostic::{Diagnostic, Diagnostics, MAX_DIAGNOSTICS, render, render_each};
pub use difference::{Change, DifferenceError, Direction, difference};
pub use document::{
    Action, AddressRange, Autogroup, Destination, Document, Expectation, MAX_DOCUMENT_BYTES,
    MAX_MEMBERS, MAX_PATH_RULES, MAX_RULES, MAX_SELECTORS, Owner, Packet, PathRule, RelayGrant,
    Rule, Selector, Service, Test,
};
pub use excerpt::Span;
pub use filter::{Filter, FilterRule, ProtocolPorts, RuleId};
pub use names::{GroupName, HostName, NodeName, TagName, UserName};
pub use nodes::{MAX_NODES, MAX_NODES_BYTES, Node, NodeClash, NodeIdentity, Nodes};
pub use plan::{PathChange, Plan, RelayChange, Unfit};
pub use ports::{PortPrefix, PortRange};
pub use prefix::Prefix;
pub use protocol::{Protocols, has_ports};
pub use query::{Query, QueryError};
pub use trial::{Failure, Outcome, is_made_up, try_tests};
