//! `nearwire down`, `nearwire rotate`, `nearwire leave`.

use std::process::ExitCode;

use super::daemon::Socket;
use crate::mesh::rpc::{Caller, Done, Request};

/// Take the node down, until the next `nearwire up`
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    asked: Asked,
}

/// Take another WireGuard key now, without losing a packet
#[derive(clap::Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    asked: Asked,
}

/// Leave the network for good, and forget the node's keys
#[derive(clap::Args)]
pub(super) struct LeaveArgs {
    #[command(flatten)]
    asked: Asked,
}

#[derive(clap::Args)]
struct Asked {
    #[command(flatten)]
    socket: Socket,
    #[command(flatten)]
    answer: Answer,
}

/// How what came of a command is shown.
#[derive(clap::Args)]
pub(super) struct Answer {
    /// Print what came of it as JSON: `state` and, if there is more to say, `detail`
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.asked.run(&Request::Down)
    }
}

impl RotateArgs {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.asked.run(&Request::Rotate)
    }
}

impl LeaveArgs {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        self.asked.run(&Request::Leave)
    }
}

impl Asked {
    fn run(&self, request: &Request) -> anyhow::Result<ExitCode> {
        let done = Caller::connect(&self.socket.socket)?.done(request, |_| {})?;
        self.answer.show(&done)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Answer {
    pub(super) fn show(&self, done: &Done) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(done)?);
        } else {
            println!("{done}");
        }
        Ok(())
    }
}
