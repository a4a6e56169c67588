//! `admin`: the API from the shell.

mod keys;
mod networks;
mod nodes;
mod policy;
mod relays;
mod tokens;

use std::path::Path;

use anyhow::{Context, Result};
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value};

use super::ask::{Question, Server};
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
    Networks(networks::Networks),
    /// Nodes of a network
    #[command(subcommand)]
    Nodes(nodes::Nodes),
    /// Enrolment keys of a network
    #[command(subcommand)]
    Keys(keys::Keys),
    /// API tokens
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// The policy of a network
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Relays
    #[command(subcommand)]
    Relays(relays::Relays),
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

pub(super) async fn run(Arguments { server, json, what }: Arguments) -> Result<()> {
    let answer = server.ask(question(what)?).await?;
    match (json, &answer) {
        (_, Value::Null) => {}
        (true, answer) => println!("{}", serde_json::to_string_pretty(answer)?),
        (false, answer) => print!("{}", print::human(answer)),
    }
    Ok(())
}

/// What a command asks of the API.
fn question(what: What) -> Result<Question> {
    Ok(match what {
        What::Networks(what) => networks::question(what),
        What::Nodes(what) => nodes::question(what),
        What::Keys(what) => keys::question(what),
        What::Tokens(what) => tokens::question(what),
        What::Policy(what) => policy::question(what)?,
        What::Relays(what) => relays::question(what)?,
        What::Audit { network, page: Numbered { after, limit } } => {
            let query = [("after", after.to_string()), ("limit", limit.to_string())];
            Question::new(Method::GET, &within(network.as_deref(), "audit"), &query, None)
        }
        What::Flows { network, node, address, event, since, before, limit } => {
            let mut query = vec![("since", since.to_string()), ("before", before.to_string())];
            query.push(("limit", limit.to_string()));
            let named = [("node", node), ("address", address), ("event", event)];
            query.extend(named.into_iter().filter_map(|(name, value)| Some((name, value?))));
            Question::new(Method::GET, &["networks", &network, "flows"], &query, None)
        }
    })
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

#[cfg(test)]
mod tests;
