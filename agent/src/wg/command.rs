//! What the main thread asks of the worker, and its end of the line.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::Context as _;
use engine::Drops;
use proto::uapi::{Device, Set};
use tokio::sync::oneshot;

/// What the main thread asks of the worker.
pub(super) enum Command {
    /// Report configuration and counters.
    Get(oneshot::Sender<Device>),
    /// Change the configuration, or say by `errno` why not.
    Set(Box<Set>, oneshot::Sender<Result<(), SetError>>),
    /// Report what was dropped.
    Drops(oneshot::Sender<Drops>),
    /// The interface went up or down.
    Up(bool),
    /// The interface's MTU is this now.
    Mtu(u16),
    /// End.
    Stop,
}

/// A change of configuration that was refused; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetError {
    #[error("cannot listen on UDP port {port}: {error}")]
    Port { port: u16, error: io::Error },
    #[error("cannot mark datagrams with {mark:#x}: {error}")]
    Mark { mark: u32, error: io::Error },
    #[error(transparent)]
    Refused(#[from] engine::ConfigureError),
}

impl SetError {
    pub(super) fn errno(&self) -> i32 {
        match self {
            Self::Port { error, .. } | Self::Mark { error, .. } => {
                error.raw_os_error().unwrap_or(libc::EIO)
            }
            Self::Refused(_) => libc::E2BIG,
        }
    }
}

/// The main thread's end: commands, and word of the worker's end.
#[derive(Clone)]
pub(super) struct Handle {
    commands: mpsc::Sender<Command>,
    bell: Arc<OwnedFd>,
}

impl Handle {
    /// `bell` wakes the worker, an eventfd.
    pub(super) fn new(commands: mpsc::Sender<Command>, bell: Arc<OwnedFd>) -> Self {
        Self { commands, bell }
    }

    /// Hands a command over. One that comes too late is dropped, and so is its reply's sender.
    pub(super) fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            // The counter of an eventfd cannot overflow by ones.
            let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Sends the command that `make` makes around a reply, and waits for it.
    pub(super) async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> anyhow::Result<T> {
        let (reply, answer) = oneshot::channel();
        self.send(make(reply));
        answer.await.context("the interface is going away")
    }
}
