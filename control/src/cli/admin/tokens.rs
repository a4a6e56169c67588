//! API tokens.

use std::time::Duration;

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::{Page, given, paged};
use crate::cli::ask::Question;

#[derive(Subcommand)]
pub(super) enum Tokens {
    List(Page),
    /// Make a token; its secret is shown this once
    Create {
        /// What it may do, as `nodes:read`
        #[arg(long = "scope", required = true, value_delimiter = ',')]
        scopes: Vec<String>,
        /// The only network that it opens
        #[arg(long)]
        network: Option<String>,
        /// For how long, as `90d`
        #[arg(long, value_parser = humantime::parse_duration)]
        lasts: Option<Duration>,
        #[arg(long, default_value = "")]
        description: String,
    },
    Revoke {
        token: String,
    },
}

pub(super) fn question(what: Tokens) -> Question {
    match what {
        Tokens::List(page) => Question::new(Method::GET, &["tokens"], &paged(page), None),
        Tokens::Create { scopes, network, lasts, description } => {
            let body = given([
                ("scopes", json!(scopes)),
                ("network", json!(network)),
                ("lasts", json!(lasts.map(|lasts| lasts.as_secs()))),
                ("description", json!(description)),
            ]);
            Question::new(Method::POST, &["tokens"], &[], body)
        }
        Tokens::Revoke { token } => Question::new(Method::DELETE, &["tokens", &token], &[], None),
    }
}
