//! Nodes of a network.

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Page, paged};
use crate::cli::ask::Question;

#[derive(Subcommand)]
pub(super) enum Nodes {
    List {
        network: String,
        #[command(flatten)]
        page: Page,
    },
    Get {
        network: String,
        node: String,
    },
    /// Let a node speak to its peers
    Approve {
        network: String,
        node: String,
    },
    /// Let a node speak to nobody until it is approved again
    Suspend {
        network: String,
        node: String,
    },
    /// Call a node something else
    Rename {
        network: String,
        node: String,
        name: String,
    },
    /// Say what a node is for
    Tag {
        network: String,
        node: String,
        tags: Vec<String>,
    },
    /// Say whose a node is
    Give {
        network: String,
        node: String,
        user: String,
    },
    /// Let others reach these networks through a node that offers them
    Routes {
        network: String,
        node: String,
        routes: Vec<String>,
    },
    /// End a node's key: it has to enrol again
    Expire {
        network: String,
        node: String,
    },
    /// Revoke a node
    Delete {
        network: String,
        node: String,
    },
}

pub(super) fn question(what: Nodes) -> Question {
    let change = |network: String, node: String, body: Value| {
        let path = ["networks", &network, "nodes", &node];
        Question::new(Method::PATCH, &path, &[], Some(body))
    };
    match what {
        Nodes::List { network, page } => {
            Question::new(Method::GET, &["networks", &network, "nodes"], &paged(page), None)
        }
        Nodes::Get { network, node } => {
            Question::new(Method::GET, &["networks", &network, "nodes", &node], &[], None)
        }
        Nodes::Approve { network, node } => change(network, node, json!({ "approved": true })),
        Nodes::Suspend { network, node } => change(network, node, json!({ "approved": false })),
        Nodes::Rename { network, node, name } => change(network, node, json!({ "name": name })),
        Nodes::Tag { network, node, tags } => change(network, node, json!({ "tags": tags })),
        Nodes::Give { network, node, user } => change(network, node, json!({ "user": user })),
        Nodes::Routes { network, node, routes } => {
            change(network, node, json!({ "approved_routes": routes }))
        }
        Nodes::Expire { network, node } => change(network, node, json!({ "expire": true })),
        Nodes::Delete { network, node } => {
            Question::new(Method::DELETE, &["networks", &network, "nodes", &node], &[], None)
        }
    }
}
