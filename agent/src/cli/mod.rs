//! The command line.

mod daemon;
mod down;
mod drops;
mod explain;
mod flows;
mod format;
mod names;
mod netcheck;
mod peers;
mod ping;
mod policy;
mod shards;
mod status;
mod top;
mod up;
mod wg;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// A WireGuard node with a data plane in eBPF.
#[derive(Parser)]
#[command(name = "nearwire", version, max_term_width = 100)]
#[command(after_help = format!("\
Logs go to standard error; NEARWIRE_LOG=debug shows more (off, error, warn, info, debug, trace).
{}
Of `up` also: 3 waits for an operator's approval, 4 the control plane is away.", manual::EXIT_CODES))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Args),
    Down(down::Args),
    /// Show this node, its peers, and the way to each
    Status(status::Args),
    /// List, count or look at peers
    Peers(peers::Args),
    Ping(ping::Args),
    Explain(explain::Args),
    Netcheck(netcheck::Args),
    Top(top::Args),
    Rotate(down::RotateArgs),
    Leave(down::LeaveArgs),
    Daemon(daemon::Args),
    RestoreNames(names::Args),
    /// Make a WireGuard interface and serve it, for `wg` and `wg-quick` to configure
    Wg(wg::Args),
    /// Check, apply and watch the policy that the kernel enforces on an interface
    #[command(subcommand)]
    Policy(policy::Command),
    Flows(flows::Args),
    /// Show what an interface dropped, and why
    Drops(drops::Args),
    /// Show the threads that carry an interface's packets, or change their number
    Shards(shards::Args),
    #[command(flatten)]
    Manual(manual::Manual),
    /// `wg-quick` passes the interface's name alone
    #[command(external_subcommand)]
    Bare(Vec<OsString>),
}

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    let result = match cli.command {
        Command::Up(args) => args.run(),
        Command::Down(args) => args.run(),
        Command::Status(args) => args.run(),
        Command::Peers(args) => args.run(),
        Command::Ping(args) => args.run(),
        Command::Explain(args) => args.run(),
        Command::Netcheck(args) => args.run(),
        Command::Top(args) => args.run(),
        Command::Rotate(args) => args.run(),
        Command::Leave(args) => args.run(),
        Command::Daemon(args) => args.run(),
        Command::RestoreNames(args) => args.run(),
        Command::Wg(args) => args.run(),
        Command::Policy(command) => command.run(),
        Command::Flows(args) => args.run(),
        Command::Drops(args) => args.run(),
        Command::Shards(args) => args.run(),
        Command::Manual(manual) => manual.run(Cli::command()).map(|()| ExitCode::SUCCESS),
        Command::Bare(words) => bare(words),
    };
    result.unwrap_or_else(|error| {
        eprintln!("nearwire: {error:#}");
        ExitCode::FAILURE
    })
}

/// `nearwire wg0`, as `wg-quick` starts a userspace WireGuard. Only `wg-quick` may: a mistyped
/// command must not make an interface of its name.
fn bare(words: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let from_wg_quick = std::env::var_os("WG_QUICK_USERSPACE_IMPLEMENTATION").is_some();
    if let [name] = words.as_slice()
        && let (Some(name), true) = (name.to_str(), from_wg_quick)
        && let Command::Wg(args) = Cli::parse_from(["nearwire", "wg", name]).command
    {
        return args.run();
    }
    let word = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    Cli::command()
        .error(
            clap::error::ErrorKind::InvalidSubcommand,
            format!(
                "no such command: {word:?} (for an interface of this name: nearwire wg {word})"
            ),
        )
        .exit()
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("NEARWIRE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    /// What serves, or makes files: there is nothing to read in another form.
    const WITHOUT: &[&str] = &["daemon", "wg", "completions", "man", "help"];

    fn leaves(of: &clap::Command, all: &mut Vec<clap::Command>) {
        for command in of.get_subcommands().filter(|one| !WITHOUT.contains(&one.get_name())) {
            if command.has_subcommands() {
                leaves(command, all);
            } else {
                all.push(command.clone());
            }
        }
    }

    #[test]
    fn every_command_that_answers_does_so_in_json_too() {
        let mut cli = Cli::command();
        cli.build();
        let mut all = Vec::new();
        leaves(&cli, &mut all);
        assert!(all.len() > 20, "{}", all.len());
        for command in all {
            let has = command.get_arguments().any(|argument| argument.get_id() == "json");
            assert!(has, "{} has no --json", command.get_name());
        }
    }
}
