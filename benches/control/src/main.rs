//! Nodes without tunnels, by the thousand, on real connections: what it costs the control plane to
//! have them, and how soon all hear of a change.
#![forbid(unsafe_code)]

mod admin;
mod board;
mod crowd;
mod node;
mod scenario;
mod usage;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Nodes without tunnels, by the thousand: load for nearwire-control")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a certificate of this host for servers, and its key: `certificate.pem`, `key.pem`
    Certificate {
        /// Where
        directory: PathBuf,
    },
    /// Enrol a node that is never heard of again, with the key in `NEARWIRE_AUTH_KEY`; prints its id
    Join {
        /// The control plane
        #[arg(long)]
        url: String,
    },
    /// Grow a network in steps, and measure at each; prints a JSON object a line
    Grow(scenario::Options),
}

fn main() -> Result<()> {
    usage::raise_open_files()?;
    match Arguments::parse().command {
        Command::Certificate { directory } => certificate(&directory),
        Command::Join { url } => runtime()?.block_on(join(&url)),
        Command::Grow(options) => runtime()?.block_on(scenario::run(options)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().context("starting the runtime")
}

async fn join(url: &str) -> Result<()> {
    let key = std::env::var("NEARWIRE_AUTH_KEY").context("NEARWIRE_AUTH_KEY is not set")?;
    let client = control_client::Client::new(url, &control_client::Trust::Host)?;
    let (node, _) = node::enrol(0, &client, &key).await?;
    println!("{node}");
    Ok(())
}

fn certificate(directory: &std::path::Path) -> Result<()> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
    let write = |name: &str, text: String| {
        let file = directory.join(name);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    };
    write("certificate.pem", made.cert.pem())?;
    write("key.pem", made.signing_key.serialize_pem())
}
