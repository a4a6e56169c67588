//! What the control plane decides, without sockets, database, clock or chance: `now` and random
//! bytes are arguments.

pub mod audit;
pub mod bearer;
pub mod enrolment;
mod filters;
pub mod ipam;
pub mod key_lifetime;
pub mod label;
pub mod lockout;
pub mod node;
mod pairs;
pub mod peer_set;
pub mod policy_text;
pub mod rate;
mod relaying;
pub mod revocations;
pub mod routes;
pub mod rule_book;
pub mod scope;
pub mod seal;
pub mod session;
pub mod tenant;
pub mod ticket_keys;
pub mod view;
