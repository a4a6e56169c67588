//! `nearwire-relay`: forwards WireGuard packets between nodes. `nearwire-relay --help` explains it.

mod operator;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use operator::Admin;
use relay::server::{Config, Options, Server, foretell, make_key};
use tokio::signal::unix::{SignalKind, signal};

/// A relay for nearwire: QUIC, TLS on TCP, and UDP lanes
#[derive(Parser)]
#[command(name = "nearwire-relay", version, args_conflicts_with_subcommands = true)]
#[command(after_help = manual::EXIT_CODES)]
struct Arguments {
    /// Configuration file (TOML); every key is also a flag and an environment variable
    #[arg(short, long, env = "NEARWIRE_RELAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check a configuration as a start would take it, and say what is wrong with it
    ///
    /// The file, the environment and flags count as they do without `check`. Files that are named are
    /// read; nothing is opened or changed.
    Check {
        /// The file
        #[arg(env = "NEARWIRE_RELAY_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Make this relay's key for its region, if there is none, and print the public half
    Key {
        /// The file
        file: PathBuf,
    },
    /// Show a running relay: clients, lanes, links to other relays, drops
    Status {
        #[command(flatten)]
        admin: Admin,
        /// Print the relay's own JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell a running relay to send its clients elsewhere and end
    Drain {
        #[command(flatten)]
        admin: Admin,
    },
    #[command(flatten)]
    Manual(manual::Manual),
}

fn main() -> ExitCode {
    let matches = without_empty(Arguments::command()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let result = match arguments.command {
        Some(Command::Check { config, options }) => check(*options, config),
        Some(Command::Key { file }) => make_key(&file).map(|public| println!("{public}")),
        Some(Command::Status { admin, json }) => operator::status(&admin, json),
        Some(Command::Drain { admin }) => operator::drain(&admin),
        Some(Command::Manual(manual)) => manual.run(Arguments::command()),
        None => configured(arguments.options, arguments.config).and_then(run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nearwire-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A variable that is set to nothing says nothing, as in a unit's `Environment=`.
fn without_empty(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        let is_empty = value.is_some_and(|value| value.is_empty());
        if is_empty { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty)
}

fn check(options: Options, file: Option<PathBuf>) -> Result<()> {
    let shown = file.as_ref().map_or_else(
        || "what flags and environment say".to_owned(),
        |file| file.display().to_string(),
    );
    let foretold = configured(options, file)
        .and_then(|config| runtime()?.block_on(foretell(&config)))
        .with_context(|| format!("{shown} is not a good configuration"))?;
    println!("{shown} is a good configuration\n{foretold}");
    Ok(())
}

fn configured(options: Options, file: Option<PathBuf>) -> Result<Config> {
    let options = match file {
        Some(file) => options.or(Options::read(&file)?),
        None => options,
    };
    options.check()
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().context("starting the runtime")
}

fn run(config: Config) -> Result<()> {
    runtime()?.block_on(async {
        let drain_time = config.drain_time;
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        // It has files read again where there are such; it ends nothing.
        let _hangup = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        let server = Server::start(config).await?;
        let addresses = server.addresses();
        tracing::info!(
            quic = addresses.quic.map(tracing::field::display),
            tls = %addresses.tls,
            lanes = addresses.lanes.map(tracing::field::display),
            mesh = addresses.mesh.map(tracing::field::display),
            admin = addresses.admin.map(tracing::field::display),
            certificate_sha256 = server.fingerprint(),
            "serving"
        );
        let mut told = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tokio::select! {
            () = told() => {}
            // Said to drain by its admin address, it has told its clients.
            ended = server.ended() => {
                ended?;
                return Ok(server.drain(drain_time).await?);
            }
        }
        tracing::info!(
            milliseconds = drain_time.as_millis(),
            "telling clients, and ending when they have gone or it is time"
        );
        tokio::select! {
            drained = server.drain(drain_time) => Ok(drained?),
            () = told() => {
                tracing::warn!("told once more: ending at once");
                Ok(())
            }
        }
    })
}
