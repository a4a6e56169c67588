//! Networks.

use std::time::Duration;

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::{Page, given, paged};
use crate::cli::ask::Question;

#[derive(Subcommand)]
pub(super) enum Networks {
    List(Page),
    Create {
        name: String,
        /// Where its nodes' IPv4 addresses come from
        #[arg(long)]
        v4: Option<String>,
        /// Where their IPv6 addresses come from
        #[arg(long)]
        v6: Option<String>,
    },
    Get {
        network: String,
    },
    /// Set what holds for a network; what is not said stays
    Set {
        network: String,
        /// Have nodes tell of one of so many flows, for `admin flows`; of none at 0
        #[arg(long, value_name = "N", required_unless_present = "key_lifetime")]
        flow_logs: Option<u32>,
        /// Have nodes take another WireGuard key after so long, as `30d`: from 1h to 365d
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        key_lifetime: Option<Duration>,
    },
    /// Delete a network with its nodes
    Delete {
        network: String,
    },
}

pub(super) fn question(what: Networks) -> Question {
    match what {
        Networks::List(page) => Question::new(Method::GET, &["networks"], &paged(page), None),
        Networks::Create { name, v4, v6 } => {
            let body = given([("name", json!(name)), ("v4", json!(v4)), ("v6", json!(v6))]);
            Question::new(Method::POST, &["networks"], &[], body)
        }
        Networks::Get { network } => Question::new(Method::GET, &["networks", &network], &[], None),
        Networks::Set { network, flow_logs, key_lifetime } => {
            let body = given([
                ("flow_logs", json!(flow_logs)),
                ("key_lifetime", json!(key_lifetime.map(|lifetime| lifetime.as_secs()))),
            ]);
            Question::new(Method::PATCH, &["networks", &network], &[], body)
        }
        Networks::Delete { network } => {
            Question::new(Method::DELETE, &["networks", &network], &[], None)
        }
    }
}
