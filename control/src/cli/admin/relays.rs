//! Relays, and the keys by which they know tickets.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

use super::{text, within};
use crate::cli::ask::Server;

#[derive(Subcommand)]
pub(super) enum Relays {
    /// The relays of a network's own, or of all
    Get { network: Option<String> },
    /// Name the relays, from a file of JSON as `get --json` prints it
    Put {
        file: PathBuf,
        #[arg(long)]
        network: Option<String>,
    },
    /// The keys for the relays' `control-keys`
    ControlKeys,
    /// Make another key for tickets
    RotateControlKey {
        /// When it begins to sign, as `2h`: tell the relays of it before
        #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
        signs_in: Duration,
    },
}

pub(super) async fn run(server: &Server, what: Relays) -> Result<Value> {
    match what {
        Relays::Get { network } => {
            server.ask(Method::GET, &within(network.as_deref(), "regions"), &[], None).await
        }
        Relays::Put { file, network } => {
            let body: Value = serde_json::from_str(&text(&file)?)
                .with_context(|| format!("{} is no JSON", file.display()))?;
            let path = within(network.as_deref(), "regions");
            server.ask(Method::PUT, &path, &[], Some(body)).await
        }
        Relays::ControlKeys => server.ask(Method::GET, &["control-keys"], &[], None).await,
        Relays::RotateControlKey { signs_in } => {
            let query = [("signs_in", signs_in.as_secs().to_string())];
            server.ask(Method::POST, &["control-keys"], &query, None).await
        }
    }
}
