//! `nearwire down`, `nearwire rotate`, `nearwire leave`.

use std::process::ExitCode;

use super::daemon::Socket;
use crate::mesh::rpc::{Caller, Request};

/// Take the node down, until the next `nearwire up`
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: Socket,
}

/// Take another WireGuard key now, without losing a packet
#[derive(clap::Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    socket: Socket,
}

/// Leave the network for good, and forget the node's keys
#[derive(clap::Args)]
pub(super) struct LeaveArgs {
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        ask(&self.socket, &Request::Down)
    }
}

impl RotateArgs {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        ask(&self.socket, &Request::Rotate)
    }
}

impl LeaveArgs {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        ask(&self.socket, &Request::Leave)
    }
}

fn ask(socket: &Socket, request: &Request) -> anyhow::Result<ExitCode> {
    println!("{}", Caller::connect(&socket.socket)?.done(request, |_| {})?);
    Ok(ExitCode::SUCCESS)
}
