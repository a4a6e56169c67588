//! The policy of a network.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::{given, text};
use crate::cli::ask::Server;

#[derive(Subcommand)]
pub(super) enum Policy {
    /// Print the document in force, or a version
    Get {
        network: String,
        version: Option<u64>,
    },
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
    Check {
        network: String,
        file: PathBuf,
    },
    Versions {
        network: String,
    },
    /// What one version allows and another does not
    Diff {
        network: String,
        from: u64,
        to: u64,
    },
    /// Put an earlier version in force again
    Rollback {
        network: String,
        version: u64,
    },
}

pub(super) async fn run(server: &Server, what: Policy) -> Result<Value> {
    match what {
        Policy::Get { network, version: None } => {
            server.ask(Method::GET, &["networks", &network, "policy"], &[], None).await
        }
        Policy::Get { network, version: Some(version) } => {
            let path = ["networks", &network, "policy", "versions", &version.to_string()];
            server.ask(Method::GET, &path, &[], None).await
        }
        Policy::Put { network, file, comment, replaces } => {
            let body = given([
                ("text", json!(text(&file)?)),
                ("comment", json!(comment)),
                ("replaces", json!(replaces)),
            ]);
            server.ask(Method::PUT, &["networks", &network, "policy"], &[], body).await
        }
        Policy::Check { network, file } => {
            let body = Some(json!({ "text": text(&file)? }));
            server.ask(Method::POST, &["networks", &network, "policy", "check"], &[], body).await
        }
        Policy::Versions { network } => {
            server.ask(Method::GET, &["networks", &network, "policy", "versions"], &[], None).await
        }
        Policy::Diff { network, from, to } => {
            let query = [("from", from.to_string()), ("to", to.to_string())];
            server.ask(Method::GET, &["networks", &network, "policy", "diff"], &query, None).await
        }
        Policy::Rollback { network, version } => {
            let body = Some(json!({ "version": version }));
            let path = ["networks", &network, "policy", "rollback"];
            server.ask(Method::POST, &path, &[], body).await
        }
    }
}
