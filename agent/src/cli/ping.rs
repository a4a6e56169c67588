//! `nearwire ping`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::daemon::Socket;
use super::peers::find;
use crate::io::echo::Echo;
use crate::mesh::rpc::Caller;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Ask a peer through the tunnel whether it is there; each answer names the path
///
/// It sends ICMP echo requests, which the policy has to let pass. Exit codes: 0 if an answer came, 1
/// if none did. With --until-direct: 0 if the path is direct.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The peer, by name, address, key or id
    #[arg(value_name = "PEER")]
    peer: String,
    /// How often [default: 4]
    #[arg(short, long, value_name = "N")]
    count: Option<u16>,
    /// Go on until the path is direct, at most COUNT times (200 if it is not given, 5 a second)
    #[arg(long)]
    until_direct: bool,
    /// Milliseconds between two [default: 1000]
    #[arg(short, long, value_name = "MS")]
    interval: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut caller = Caller::connect(&self.socket.socket)?;
        let status = caller.status()?;
        let peer = find(&status.peers, &self.peer)?.clone();
        let address = self.peer.parse().ok().or_else(|| peer.addresses.first().copied());
        let address = address.context("the peer has no address")?;
        // The low half of a process id tells commands apart that run at one time.
        let id = u16::try_from(std::process::id() & 0xffff)?;
        let echo = Echo::open(address, id)
            .context("cannot open a raw socket; it takes CAP_NET_RAW, are you root?")?;
        let (count, interval) = if self.until_direct { (200, 200) } else { (4, 1000) };
        let (count, interval) = (self.count.unwrap_or(count), self.interval.unwrap_or(interval));
        let (mut asked, mut answers, mut is_direct) = (0, 0, false);
        for sequence in 1..=count {
            let time = echo.ask(sequence, PATIENCE).context("cannot ask")?;
            asked += 1;
            answers += u32::from(time.is_some());
            let status = caller.status()?;
            let now = find(&status.peers, &peer.node);
            is_direct = now.as_ref().is_ok_and(|peer| peer.path == "direct");
            let path = now.map(|peer| peer.way());
            self.show(sequence, address, time, &path.unwrap_or_else(|_| "none".to_owned()));
            if self.until_direct && is_direct {
                break;
            }
            if sequence < count {
                let interval = Duration::from_millis(interval);
                std::thread::sleep(interval.saturating_sub(time.unwrap_or(PATIENCE)));
            }
        }
        if !self.json {
            println!("{answers} of {asked} answered");
        }
        let done = if self.until_direct { is_direct } else { answers > 0 };
        Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn show(&self, sequence: u16, address: std::net::IpAddr, time: Option<Duration>, path: &str) {
        let ms = time.map(|time| time.as_secs_f64() * 1000.0);
        if self.json {
            let line = json!({
                "sequence": sequence, "address": address, "rtt_ms": ms, "path": path,
            });
            println!("{line}");
        } else if let Some(ms) = ms {
            println!("{sequence}: {address} by {path}: {ms:.2} ms");
        } else {
            println!("{sequence}: {address}: no answer");
        }
    }
}
