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
    /// Grow a network in steps, and measure at each; prints a JSON object a line
    Grow(scenario::Options),
}

fn main() -> Result<()> {
    usage::raise_open_files()?;
    match Arguments::parse().command {
        Command::Certificate { directory } => certificate(&directory),
        Command::Grow(options) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .context("starting the runtime")?;
            runtime.block_on(scenario::run(options))
        }
    }
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
