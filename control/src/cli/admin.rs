//! `admin`: the API from the shell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::ask::Server;
use super::print;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Networks
    #[command(subcommand)]
    Networks(Networks),
    /// Nodes of a network
    #[command(subcommand)]
    Nodes(Nodes),
    /// Enrolment keys of a network
    #[command(subcommand)]
    Keys(Keys),
    /// API tokens
    #[command(subcommand)]
    Tokens(Tokens),
    /// The policy of a network
    #[command(subcommand)]
    Policy(Policy),
    /// Relays
    #[command(subcommand)]
    Relays(Relays),
    /// What was done in a network, or above all of them
    Audit {
        network: Option<String>,
        #[command(flatten)]
        page: Numbered,
    },
    /// What became of flows
    Flows {
        network: String,
        /// Those that this node told of
        #[arg(long)]
        node: Option<String>,
        /// Those from or to this address
        #[arg(long)]
        address: Option<String>,
        /// start, end or denied
        #[arg(long)]
        event: Option<String>,
        /// Those at or after this moment, in seconds since 1970
        #[arg(long, default_value_t = 0)]
        since: u64,
        /// Those before this number
        #[arg(long, default_value_t = 0)]
        before: u64,
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

#[derive(clap::Args)]
struct Page {
    /// The `next` of the page before
    #[arg(long, default_value = "")]
    after: String,
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

#[derive(clap::Args)]
struct Numbered {
    /// The number of the last entry that is known
    #[arg(long, default_value_t = 0)]
    after: u64,
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

#[derive(Subcommand)]
enum Networks {
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
    /// Delete a network with its nodes
    Delete {
        network: String,
    },
}

#[derive(Subcommand)]
enum Nodes {
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

#[derive(Subcommand)]
enum Keys {
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

#[derive(Subcommand)]
enum Tokens {
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

#[derive(Subcommand)]
enum Policy {
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

#[derive(Subcommand)]
enum Relays {
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
    RotateControlKey,
}

pub(super) async fn run(Arguments { server, json, what }: Arguments) -> Result<()> {
    let answer = match what {
        What::Networks(what) => networks(&server, what).await,
        What::Nodes(what) => nodes(&server, what).await,
        What::Keys(what) => keys(&server, what).await,
        What::Tokens(what) => tokens(&server, what).await,
        What::Policy(what) => policy(&server, what).await,
        What::Relays(what) => relays(&server, what).await,
        What::Audit { network, page: Numbered { after, limit } } => {
            let query = [("after", after.to_string()), ("limit", limit.to_string())];
            let path = within(network.as_deref(), "audit");
            server.ask(Method::GET, &path, &query, None).await
        }
        What::Flows { network, node, address, event, since, before, limit } => {
            let mut query = vec![("since", since.to_string()), ("before", before.to_string())];
            query.push(("limit", limit.to_string()));
            let named = [("node", node), ("address", address), ("event", event)];
            query.extend(named.into_iter().filter_map(|(name, value)| Some((name, value?))));
            server.ask(Method::GET, &["networks", &network, "flows"], &query, None).await
        }
    }?;
    match (json, &answer) {
        (_, Value::Null) => {}
        (true, answer) => println!("{}", serde_json::to_string_pretty(answer)?),
        (false, answer) => print!("{}", print::human(answer)),
    }
    Ok(())
}

fn within<'a>(network: Option<&'a str>, what: &'a str) -> Vec<&'a str> {
    network.map_or_else(|| vec![what], |network| vec!["networks", network, what])
}

fn paged(Page { after, limit }: Page) -> [(&'static str, String); 2] {
    [("after", after), ("limit", limit.to_string())]
}

/// An object without what was left out.
fn given<const N: usize>(fields: [(&str, Value); N]) -> Option<Value> {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    Some(Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()))
}

fn text(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

async fn networks(server: &Server, what: Networks) -> Result<Value> {
    match what {
        Networks::List(page) => server.ask(Method::GET, &["networks"], &paged(page), None).await,
        Networks::Create { name, v4, v6 } => {
            let body = given([("name", json!(name)), ("v4", json!(v4)), ("v6", json!(v6))]);
            server.ask(Method::POST, &["networks"], &[], body).await
        }
        Networks::Get { network } => {
            server.ask(Method::GET, &["networks", &network], &[], None).await
        }
        Networks::Delete { network } => {
            server.ask(Method::DELETE, &["networks", &network], &[], None).await
        }
    }
}

async fn nodes(server: &Server, what: Nodes) -> Result<Value> {
    let change = |network: String, node: String, body: Value| async move {
        let path = ["networks", &network, "nodes", &node];
        server.ask(Method::PATCH, &path, &[], Some(body)).await
    };
    match what {
        Nodes::List { network, page } => {
            server.ask(Method::GET, &["networks", &network, "nodes"], &paged(page), None).await
        }
        Nodes::Get { network, node } => {
            server.ask(Method::GET, &["networks", &network, "nodes", &node], &[], None).await
        }
        Nodes::Approve { network, node } => {
            change(network, node, json!({ "approved": true })).await
        }
        Nodes::Rename { network, node, name } => {
            change(network, node, json!({ "name": name })).await
        }
        Nodes::Tag { network, node, tags } => change(network, node, json!({ "tags": tags })).await,
        Nodes::Give { network, node, user } => change(network, node, json!({ "user": user })).await,
        Nodes::Routes { network, node, routes } => {
            change(network, node, json!({ "approved_routes": routes })).await
        }
        Nodes::Expire { network, node } => change(network, node, json!({ "expire": true })).await,
        Nodes::Delete { network, node } => {
            server.ask(Method::DELETE, &["networks", &network, "nodes", &node], &[], None).await
        }
    }
}

async fn keys(server: &Server, what: Keys) -> Result<Value> {
    match what {
        Keys::List { network, page } => {
            server.ask(Method::GET, &["networks", &network, "keys"], &paged(page), None).await
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
            server.ask(Method::POST, &["networks", &network, "keys"], &[], body).await
        }
        Keys::Revoke { network, key } => {
            server.ask(Method::DELETE, &["networks", &network, "keys", &key], &[], None).await
        }
    }
}

async fn tokens(server: &Server, what: Tokens) -> Result<Value> {
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

async fn policy(server: &Server, what: Policy) -> Result<Value> {
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

async fn relays(server: &Server, what: Relays) -> Result<Value> {
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
        Relays::RotateControlKey => server.ask(Method::POST, &["control-keys"], &[], None).await,
    }
}
