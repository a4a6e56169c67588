//! Load for relays. `cargo xtask bench relay` runs this beside a relay, in the namespace of its
//! clients; each command prints one JSON value.

mod certificate;
mod connection;
mod fairness;
mod idle;
mod iroh;
mod lanes;
mod latency;
mod nearwire;
mod streams;
mod turn;
mod udp;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the control key that signs this program's tickets, as the relay's configuration has it
    ControlKey,
    /// Write a certificate and its key for relays that want files: `cert.pem`, `key.pem`
    Certificate { directory: PathBuf },
    /// Send as much as the relay forwards, by as many pairs, and tell its CPU time
    Throughput(Throughput),
    /// Ask for round trips through the relay
    Latency(Latency),
    /// Connect clients that do nothing, and tell the relay's memory
    Idle(Idle),
    /// Open and bind lanes, and tell the relay's memory
    Lanes(Idle),
    /// Send ten times as much by one client as by another, and tell what each got through
    Fairness(Fairness),
}

/// How packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// nearwire's lanes
    Lane,
    /// nearwire, QUIC datagrams
    Quic,
    /// nearwire, TLS on TCP
    Tls,
    /// coturn: channel data over UDP
    Turn,
    /// iroh-relay, plain HTTP
    Iroh,
    /// iroh-relay, TLS
    IrohTls,
    /// No relay: from one socket to the other
    Direct,
}

#[derive(clap::Args)]
struct Target {
    #[arg(long)]
    way: Way,
    /// Where the relay takes clients
    #[arg(long)]
    relay: SocketAddr,
    /// Processes and kernel threads that do the relay's work
    #[arg(long, value_delimiter = ',')]
    of: Vec<u32>,
}

#[derive(clap::Args)]
struct Throughput {
    #[command(flatten)]
    target: Target,
    /// Loads, one after the other
    #[arg(long, value_delimiter = ',', required = true)]
    load: Vec<Load>,
    #[arg(long, default_value_t = 1000)]
    milliseconds: u64,
}

#[derive(clap::Args)]
struct Latency {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 2000)]
    count: u32,
    /// Packets of 1,400 bytes a second that go beside; then one question each millisecond
    #[arg(long, default_value_t = 0)]
    beside: u32,
}

#[derive(clap::Args)]
struct Idle {
    #[command(flatten)]
    target: Target,
    #[arg(long)]
    count: usize,
}

#[derive(clap::Args)]
struct Fairness {
    #[command(flatten)]
    target: Target,
    /// Bytes a second that the bottleneck lets through
    #[arg(long)]
    rate: u64,
    #[arg(long, default_value_t = 3000)]
    milliseconds: u64,
}

/// `PAIRS:SIZExSEGMENTS`: datagrams of this size, so many in a batch.
#[derive(Clone, Copy, Debug, Serialize)]
struct Load {
    pairs: usize,
    size: usize,
    segments: usize,
}

impl Load {
    /// Datagrams of a pair that may be on their way at one time.
    fn window(self) -> usize {
        const ALL: usize = 256;
        (ALL / self.pairs.max(1)).max(self.segments)
    }
}

impl std::str::FromStr for Load {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once(':').and_then(|(pairs, rest)| {
            let (size, segments) = rest.split_once('x')?;
            Some([pairs, size, segments])
        });
        let [pairs, size, segments] = parts.context("write PAIRS:SIZExSEGMENTS")?;
        Ok(Self { pairs: pairs.parse()?, size: size.parse()?, segments: segments.parse()? })
    }
}

/// What became of a load.
#[derive(Serialize)]
struct Carried {
    #[serde(flatten)]
    load: Load,
    packets: u64,
    seconds: f64,
    /// Of the relay.
    cpu_seconds: f64,
    lost: u64,
}

fn main() -> Result<()> {
    usage::raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(Cli::parse().command))
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::ControlKey => println!("{}", nearwire::control_key()?),
        Command::Certificate { directory } => certificate::write(&directory)?,
        Command::Throughput(Throughput { target, load, milliseconds }) => {
            print(&throughput(&target, &load, Duration::from_millis(milliseconds)).await?)?;
        }
        Command::Latency(Latency { target, count, beside }) => {
            print(&latency::measure(&target, count, beside).await?)?;
        }
        Command::Idle(Idle { target, count }) => print(&idle::clients(&target, count).await?)?,
        Command::Lanes(Idle { target, count }) => print(&idle::lanes(&target, count).await?)?,
        Command::Fairness(Fairness { target, rate, milliseconds }) => {
            let time = Duration::from_millis(milliseconds);
            print(&fairness::measure(&target, rate, time).await?)?;
        }
    }
    Ok(())
}

async fn throughput(target: &Target, loads: &[Load], time: Duration) -> Result<Vec<Carried>> {
    let pairs = loads.iter().map(|load| load.pairs).max().unwrap_or(1);
    if let Some(pairs) = udp::pairs(target, pairs).await? {
        return loads.iter().map(|load| udp::carry(&pairs, *load, time, &target.of)).collect();
    }
    let mut streams = streams::Streams::connect(target, pairs).await?;
    let mut carried = Vec::new();
    for load in loads {
        carried.push(streams.carry(*load, time, &target.of).await?);
    }
    Ok(carried)
}

fn print(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}
