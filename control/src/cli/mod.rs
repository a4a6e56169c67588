//! The commands.

mod admin;
mod ask;
mod audit;
mod backup;
mod local;
mod print;
mod serve;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::json;

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
        #[command(flatten)]
        answer: Answer,
    },
    /// Seal the secrets in the database with another key
    Rekey {
        #[command(flatten)]
        options: Options,
        /// File with the new key: 32 bytes as base64
        #[arg(long, value_name = "FILE")]
        new_seal_key_file: PathBuf,
        #[command(flatten)]
        answer: Answer,
    },
    /// Write everything in the database to a file; its secrets stay sealed
    Backup {
        #[command(flatten)]
        options: Options,
        /// The file, which must not be there
        file: PathBuf,
        #[command(flatten)]
        answer: Answer,
    },
    /// Read a backup into an empty database, of whichever kind
    Restore {
        #[command(flatten)]
        options: Options,
        /// The file
        file: PathBuf,
        #[command(flatten)]
        answer: Answer,
    },
    /// Look through the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Check a configuration file and say what is wrong with it
    Check {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        answer: Answer,
    },
    /// Use the API of a server
    Admin(admin::Arguments),
    #[command(flatten)]
    Manual(manual::Manual),
}

/// How what came of a command is shown.
#[derive(clap::Args)]
struct Answer {
    /// Print what came of it as JSON
    #[arg(long)]
    json: bool,
}

impl Answer {
    fn show(&self, text: impl std::fmt::Display, json: &serde_json::Value) {
        if self.json { println!("{json}") } else { println!("{text}") }
    }
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
        .with_ansi(std::io::stderr().is_terminal())
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
            Command::Token { options, token, answer } => {
                let made = local::token(&whole(options)?, token).await?;
                answer.show(&*made.secret, &json!({ "id": made.id, "secret": *made.secret }));
                Ok(())
            }
            Command::Rekey { options, new_seal_key_file, answer } => {
                let secrets = local::rekey(&whole(options)?, &new_seal_key_file).await?;
                let key = new_seal_key_file.display();
                let text = format!(
                    "{secrets} secrets are sealed with the key in {key} now: start with it"
                );
                answer.show(text, &json!({ "secrets": secrets, "seal_key": new_seal_key_file }));
                Ok(())
            }
            Command::Backup { options, file, answer } => {
                let rows = backup::write(&whole(options)?, &file).await?;
                let text =
                    format!("{rows} rows are in {}; keep the seal key elsewhere", file.display());
                answer.show(text, &json!({ "rows": rows, "file": file }));
                Ok(())
            }
            Command::Restore { options, file, answer } => {
                let rows = backup::read(&whole(options)?, &file).await?;
                let text = format!("{rows} rows are back; start with the seal key of that time");
                answer.show(text, &json!({ "rows": rows, "file": file }));
                Ok(())
            }
            Command::Audit(command) => audit::run(command, whole).await,
            Command::Check { file, answer } => {
                let checked = Options::read(&file).and_then(Options::check);
                checked
                    .with_context(|| format!("{} is not a good configuration", file.display()))?;
                let text = format!("{} is a good configuration", file.display());
                answer.show(text, &json!({ "good": true, "file": file }));
                Ok(())
            }
            Command::Admin(arguments) => admin::run(arguments).await,
            Command::Manual(manual) => manual.run(Arguments::command()),
        }
    })
}
