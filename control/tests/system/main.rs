//! The control plane as it is used: real HTTP, real SQLite, real PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod acme;
mod agent;
mod api;
mod enrolment;
mod migrations;
mod outage;
mod postgres;
mod program;
mod scene;
mod secrets;
mod slow;
mod stream;
mod tickets;
mod turns;
