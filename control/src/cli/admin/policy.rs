//! The policy of a network.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::{given, text};
use crate::cli::ask::Question;

#[derive(Subcommand)]
pub(super) enum Policy {
    /// Print the document in force, or a version
    Get { network: String, version: Option<u64> },
    /// Put a document in force
    Put {
        network: String,
        file: PathBuf,
        #[arg(long, default_value = "")]
        comment: String,
        /// Only if this version is in force still
        #[arg(long)]
        replaces: Option<u64>,
    },
    /// What is wrong with a document, or what it would change
    Check { network: String, file: PathBuf },
    /// The versions that there were, latest first
    Versions {
        network: String,
        /// Those before this one
        #[arg(long)]
        before: Option<u64>,
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// What one version allows and another does not
    Diff { network: String, from: u64, to: u64 },
    /// Put an earlier version in force again
    Rollback { network: String, version: u64 },
}

pub(super) fn question(what: Policy) -> Result<Question> {
    Ok(match what {
        Policy::Get { network, version: None } => {
            Question::new(Method::GET, &["networks", &network, "policy"], &[], None)
        }
        Policy::Get { network, version: Some(version) } => {
            let path = ["networks", &network, "policy", "versions", &version.to_string()];
            Question::new(Method::GET, &path, &[], None)
        }
        Policy::Put { network, file, comment, replaces } => {
            let body = given([
                ("text", json!(text(&file)?)),
                ("comment", json!(comment)),
                ("replaces", json!(replaces)),
            ]);
            Question::new(Method::PUT, &["networks", &network, "policy"], &[], body)
        }
        Policy::Check { network, file } => {
            let body = Some(json!({ "text": text(&file)? }));
            Question::new(Method::POST, &["networks", &network, "policy", "check"], &[], body)
        }
        Policy::Versions { network, before, limit } => {
            let before = before.map(|before| ("before", before.to_string()));
            let query: Vec<_> = [("limit", limit.to_string())].into_iter().chain(before).collect();
            Question::new(Method::GET, &["networks", &network, "policy", "versions"], &query, None)
        }
        Policy::Diff { network, from, to } => {
            let query = [("from", from.to_string()), ("to", to.to_string())];
            Question::new(Method::GET, &["networks", &network, "policy", "diff"], &query, None)
        }
        Policy::Rollback { network, version } => {
            let body = Some(json!({ "version": version }));
            let path = ["networks", &network, "policy", "rollback"];
            Question::new(Method::POST, &path, &[], body)
        }
    })
}
