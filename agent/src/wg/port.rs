//! The port that all shards share: its number, its mark, and a socket for each shard.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use dataplane::Steering;
use dataplane_common::{ShardId, Shards};
use proto::uapi::Set;
use socket2::Socket;

use super::command::SetError;
use crate::io::udp::Udp;

/// The port as it is configured, and open if the interface is up.
#[derive(Default)]
pub(super) struct Port {
    /// The number that was asked for or, once open, that we got.
    pub(super) number: u16,
    /// What datagrams are marked with; 0 is not at all.
    pub(super) mark: u32,
    /// The shards own the sockets; these are for marking and steering.
    sockets: Vec<Arc<Socket>>,
}

/// A change that can no longer fail.
pub(super) struct Change {
    number: u16,
    mark: u32,
    /// Empty if the port stays where it is.
    sockets: Vec<Udp>,
}

impl Port {
    /// Does what can fail of what a `set` says of the port.
    pub(super) fn prepare(&self, set: &Set, up: bool, shards: Shards) -> Result<Change, SetError> {
        let mark = set.fwmark.unwrap_or(self.mark);
        let number = set.listen_port.unwrap_or(self.number);
        let asked = set.listen_port.is_some();
        let moves = asked && (number == 0 || number != self.number || self.sockets.is_empty());
        let sockets = if up && moves {
            open_group(number, mark, shards)
                .map_err(|error| SetError::Port { port: number, error })?
        } else {
            Vec::new()
        };
        if sockets.is_empty() && mark != self.mark {
            for socket in &self.sockets {
                socket.set_mark(mark).map_err(|error| SetError::Mark { mark, error })?;
            }
        }
        Ok(Change { number, mark, sockets })
    }

    /// Makes the change; gives the shards' sockets, if there are new ones.
    pub(super) fn change(&mut self, change: Change, steering: Option<&mut Steering>) -> Vec<Udp> {
        self.number = change.number;
        self.mark = change.mark;
        if !change.sockets.is_empty() {
            self.adopt(&change.sockets, steering);
        }
        change.sockets
    }

    /// Opens the port for an interface that comes up. If it cannot be had, that is said, and the
    /// interface is without one until another is set.
    pub(super) fn open(&mut self, shards: Shards, steering: Option<&mut Steering>) -> Vec<Udp> {
        match open_group(self.number, self.mark, shards) {
            Ok(sockets) => {
                self.adopt(&sockets, steering);
                sockets
            }
            Err(error) => {
                tracing::error!(port = self.number, %error, "cannot listen; set another port");
                Vec::new()
            }
        }
    }

    /// The interface goes down, and its shards close their sockets.
    pub(super) fn close(&mut self) {
        self.sockets.clear();
    }

    /// Takes these for the port's sockets, by the numbers of their shards.
    pub(super) fn adopt(&mut self, sockets: &[Udp], steering: Option<&mut Steering>) {
        if let Some(Ok(number)) = sockets.first().map(Udp::port) {
            self.number = number;
        }
        if let Some(steering) = steering
            && let Err(error) = steer(steering, sockets)
        {
            tracing::warn!(%error, "datagrams are not steered to their shards: expect less throughput");
        }
        self.sockets = sockets.iter().map(|udp| Arc::clone(udp.socket())).collect();
    }
}

/// One socket for each shard.
fn open_group(number: u16, mark: u32, shards: Shards) -> io::Result<Vec<Udp>> {
    let mut sockets = vec![Udp::open(number, mark)?];
    grow_group(&mut sockets, mark, shards)?;
    Ok(sockets)
}

/// Opens sockets of an open port until there is one for each shard.
pub(super) fn grow_group(sockets: &mut Vec<Udp>, mark: u32, shards: Shards) -> io::Result<()> {
    while let Some(first) = sockets.first()
        && sockets.len() < shards.count() as usize
    {
        sockets.push(first.open_beside(mark)?);
    }
    Ok(())
}

fn steer(steering: &mut Steering, sockets: &[Udp]) -> Result<(), dataplane::Error> {
    let Some((first, true)) = sockets.first().map(|first| (first, sockets.len() > 1)) else {
        return Ok(());
    };
    for (number, udp) in (0..).zip(sockets) {
        steering.set_socket(ShardId(number), udp.as_fd())?;
    }
    steering.attach_sockets(first.as_fd())
}
