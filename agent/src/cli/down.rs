//! `nearwire down`, `nearwire rotate`, `nearwire leave`.

use std::process::ExitCode;

use super::daemon::Socket;
use super::format::Format;
use crate::mesh::rpc::{Caller, Request};

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
    format: Format,
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
        self.format.print(&done, |done| println!("{done}"))
    }
}
