//! Enrolment keys of a network.

use std::time::Duration;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Page, given, paged};
use crate::cli::ask::Question;

#[derive(Subcommand)]
pub(super) enum Keys {
    List {
        network: String,
        #[command(flatten)]
        page: Page,
    },
    /// Make an enrolment key; its secret is shown this once
    Create {
        network: String,
        /// What its nodes are for
        #[arg(long = "tag", required_unless_present = "user")]
        tags: Vec<String>,
        /// Whose its nodes are
        #[arg(long, conflicts_with = "tags")]
        user: Option<String>,
        /// Let more than one node come by it
        #[arg(long)]
        reusable: bool,
        /// Delete its nodes when they have been gone for a while
        #[arg(long)]
        ephemeral: bool,
        /// Let an operator approve each of its nodes
        #[arg(long)]
        manual_approval: bool,
        /// For how long, as `7d`
        #[arg(long, value_parser = humantime::parse_duration)]
        lasts: Option<Duration>,
        #[arg(long, default_value = "")]
        description: String,
    },
    Revoke {
        network: String,
        key: String,
    },
}

pub(super) fn question(what: Keys) -> Question {
    match what {
        Keys::List { network, page } => {
            Question::new(Method::GET, &["networks", &network, "keys"], &paged(page), None)
        }
        Keys::Create {
            network,
            tags,
            user,
            reusable,
            ephemeral,
            manual_approval,
            lasts,
            description,
        } => {
            let body = given([
                ("tags", if user.is_some() { Value::Null } else { json!(tags) }),
                ("user", json!(user)),
                ("reusable", json!(reusable)),
                ("ephemeral", json!(ephemeral)),
                ("manual_approval", json!(manual_approval)),
                ("lasts", json!(lasts.map(|lasts| lasts.as_secs()))),
                ("description", json!(description)),
            ]);
            Question::new(Method::POST, &["networks", &network, "keys"], &[], body)
        }
        Keys::Revoke { network, key } => {
            Question::new(Method::DELETE, &["networks", &network, "keys", &key], &[], None)
        }
    }
}
