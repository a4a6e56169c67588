//! The control plane as it is used: real HTTP, real SQLite, real PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod acme;
mod agent;
mod agents;
mod api;
mod commands;
mod enrolment;
mod migrations;
mod networks;
mod outage;
mod postgres;
mod program;
mod relays;
mod scene;
mod secrets;
mod slow;
mod strangers;
mod stream;
mod tickets;
mod turns;
