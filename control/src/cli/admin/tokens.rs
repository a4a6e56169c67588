//! API tokens.

use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Page, given, paged};
use crate::cli::ask::Server;

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

pub(super) async fn run(server: &Server, what: Tokens) -> Result<Value> {
    match what {
        Tokens::List(page) => server.ask(Method::GET, &["tokens"], &paged(page), None).await,
        Tokens::Create { scopes, network, lasts, description } => {
            let body = given([
                ("scopes", json!(scopes)),
                ("network", json!(network)),
                ("lasts", json!(lasts.map(|lasts| lasts.as_secs()))),
                ("description", json!(description)),
            ]);
            server.ask(Method::POST, &["tokens"], &[], body).await
        }
        Tokens::Revoke { token } => {
            server.ask(Method::DELETE, &["tokens", &token], &[], None).await
        }
    }
}
