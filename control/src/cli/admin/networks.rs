//! Networks.

use anyhow::Result;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Page, given, paged};
use crate::cli::ask::Server;

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
    /// Have nodes tell of one of so many flows, for `admin flows`; of none at 0
    FlowLogs {
        network: String,
        one_of: u32,
    },
    /// Delete a network with its nodes
    Delete {
        network: String,
    },
}

pub(super) async fn run(server: &Server, what: Networks) -> Result<Value> {
    match what {
        Networks::List(page) => server.ask(Method::GET, &["networks"], &paged(page), None).await,
        Networks::Create { name, v4, v6 } => {
            let body = given([("name", json!(name)), ("v4", json!(v4)), ("v6", json!(v6))]);
            server.ask(Method::POST, &["networks"], &[], body).await
        }
        Networks::Get { network } => {
            server.ask(Method::GET, &["networks", &network], &[], None).await
        }
        Networks::FlowLogs { network, one_of } => {
            let body = Some(json!({ "flow_logs": one_of }));
            server.ask(Method::PATCH, &["networks", &network], &[], body).await
        }
        Networks::Delete { network } => {
            server.ask(Method::DELETE, &["networks", &network], &[], None).await
        }
    }
}
