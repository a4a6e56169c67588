//! `cargo xtask bench NAME`: measures, and says of each number whether it reaches what it must.

mod cargo_test;
mod control;
mod cpu_time;
mod iperf;
mod markdown;
mod micro;
mod notes;
mod paths;
mod plot;
mod policy;
mod relay;
mod report;
mod samples;
mod scratch;
mod stolen;
mod tunnel;

use std::fs;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use report::{Against, Machine, Reach, Report, Row, median};

use crate::workspace;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    name: Name,
    /// Print one JSON object in place of the table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Name {
    /// Single functions, by criterion: `cargo bench -p benches`
    Micro,
    /// The tunnel beside wireguard-go, boringtun-cli, gotatun and the bare link
    ///
    /// Two hosts in namespaces, joined by a veth; the implementations take turns, and a number is
    /// the median of the turns. Takes about twelve minutes. Look at one part by `--only udp
    /// --turns 1`.
    Tunnel(tunnel::Options),
    /// The policy: its verdicts, and what they cost, beside nftables and iptables
    ///
    /// Takes about ten minutes. Look at one part by `--only apply --turns 1`.
    Policy(policy::Options),
    /// The relay by each of its ways, beside coturn, iroh-relay and a bare reflector in XDP
    ///
    /// Takes about ten minutes, and a first time as long again to build what it measures. Look at
    /// one part by `--only latency --turns 1`.
    Relay(relay::Options),
    /// The control plane with thousands of nodes, on one instance and on two
    ///
    /// Takes about ten minutes. Look at one part by `--only sqlite --steps 1000`.
    Control(control::Options),
    /// The ways between nodes behind NATs of every kind, and what changing them costs
    ///
    /// Takes about twenty minutes. Look at one part by `--only leave --turns 1`.
    Paths(paths::Options),
}

/// Measures; fails when a row does not reach what it must.
pub(crate) fn run(args: Args) -> Result<()> {
    let report = match args.name {
        Name::Micro => micro::measure()?,
        Name::Tunnel(options) => tunnel::measure(&options)?,
        Name::Policy(options) => policy::measure(&options)?,
        Name::Relay(options) => relay::measure(&options)?,
        Name::Control(options) => control::measure(&options)?,
        Name::Paths(options) => paths::measure(&options)?,
    };
    let table = markdown::table(&report);
    let json = serde_json::to_string_pretty(&report).context("writing the report as JSON")?;
    keep(&report, &table, &json)?;
    if args.json {
        println!("{json}");
    } else {
        print!("{table}");
    }
    let short: Vec<String> =
        report.rows.iter().filter(|row| row.pass == Some(false)).map(Row::title).collect();
    if short.is_empty() {
        return Ok(());
    }
    bail!("below what has to be reached: {}", short.join("; "))
}

/// Leaves the result as files beside what cargo builds.
fn keep(report: &Report, table: &str, json: &str) -> Result<()> {
    let directory = workspace::Metadata::read()?.target_directory.join("bench");
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    for (kind, text) in [("md", table), ("svg", &plot::svg(report)), ("json", json)] {
        let path = directory.join(report.bench).with_extension(kind);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        eprintln!("{}", path.display());
    }
    Ok(())
}
