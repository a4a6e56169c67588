//! The commands.

mod admin;
mod ask;
mod audit;
mod backup;
mod local;
mod print;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::server::{Config, Options};

/// The control plane of nearwire: who is in a network, and what each node has to know
#[derive(Parser)]
#[command(name = "nearwire-control", version, after_help = manual::EXIT_CODES)]
struct Arguments {
    /// Configuration file (TOML); every key is also a flag and an environment variable
    #[arg(short, long, global = true, env = "NEARWIRE_CONTROL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve nodes and operators
    Serve(Options),
    /// Make an API token with every right, on the database itself, and print it
    Token {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        token: local::NewToken,
    },
    /// Seal the secrets in the database with another key
    Rekey {
        #[command(flatten)]
        options: Options,
        /// File with the new key: 32 bytes as base64
        #[arg(long, value_name = "FILE")]
        new_seal_key_file: PathBuf,
    },
    /// Write everything in the database to a file; its secrets stay sealed
    Backup {
        #[command(flatten)]
        options: Options,
        /// The file, which must not be there
        file: PathBuf,
    },
    /// Read a backup into an empty database, of whichever kind
    Restore {
        #[command(flatten)]
        options: Options,
        /// The file
        file: PathBuf,
    },
    /// Look through the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Check a configuration file and say what is wrong with it
    Check {
        /// The file
        file: PathBuf,
    },
    /// Use the API of a server
    Admin(admin::Arguments),
    #[command(flatten)]
    Manual(manual::Manual),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nearwire-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { config, command }: Arguments) -> Result<()> {
    let whole = |options: Options| -> Result<Config> {
        match &config {
            Some(file) => options.or(Options::read(file)?),
            None => options,
        }
        .check()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        match command {
            Command::Serve(options) => serve::run(whole(options)?).await,
            Command::Token { options, token } => local::token(&whole(options)?, token).await,
            Command::Rekey { options, new_seal_key_file } => {
                local::rekey(&whole(options)?, &new_seal_key_file).await
            }
            Command::Backup { options, file } => backup::write(&whole(options)?, &file).await,
            Command::Restore { options, file } => backup::read(&whole(options)?, &file).await,
            Command::Audit(command) => audit::run(command, whole).await,
            Command::Check { file } => {
                let checked = Options::read(&file).and_then(Options::check);
                checked
                    .with_context(|| format!("{} is not a good configuration", file.display()))?;
                println!("{} is a good configuration", file.display());
                Ok(())
            }
            Command::Admin(arguments) => admin::run(arguments).await,
            Command::Manual(manual) => manual.run(Arguments::command()),
        }
    })
}
