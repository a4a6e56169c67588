//! Relays, and the keys by which they know tickets.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

use super::{text, within};
use crate::cli::ask::Question;

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
    /// Forget a key that signs no more, when its last ticket has ended
    RetireControlKey { key: u32 },
}

pub(super) fn question(what: Relays) -> Result<Question> {
    Ok(match what {
        Relays::Get { network } => {
            Question::new(Method::GET, &within(network.as_deref(), "regions"), &[], None)
        }
        Relays::Put { file, network } => {
            let body: Value = serde_json::from_str(&text(&file)?)
                .with_context(|| format!("{} is no JSON", file.display()))?;
            let path = within(network.as_deref(), "regions");
            Question::new(Method::PUT, &path, &[], Some(body))
        }
        Relays::ControlKeys => Question::new(Method::GET, &["control-keys"], &[], None),
        Relays::RetireControlKey { key } => {
            Question::new(Method::DELETE, &["control-keys", &key.to_string()], &[], None)
        }
        Relays::RotateControlKey { signs_in } => {
            let query = [("signs_in", signs_in.as_secs().to_string())];
            Question::new(Method::POST, &["control-keys"], &query, None)
        }
    })
}
