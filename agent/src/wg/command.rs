//! What the main thread asks of a shard, and both ends of the line.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::Context as _;
use dataplane_common::Slot;
use engine::{
    ConfigureError, Drops, Engine, Handover, KeyChange, PathChange, PeerStatus, Timestamp, Traffic,
};
use ipnet::IpNet;
use proto::key::{PrivateKey, PublicKey};
use proto::uapi::Set;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

use crate::io::tun::Tun;
use crate::io::udp::{Length, Udp};

/// What other shards may have handed over before more is dropped.
const HANDOVER_LIMIT: usize = 1024;

/// What the main thread asks of a shard.
pub(super) enum Command {
    /// Say whether this change could be made.
    Check(Arc<Set>, oneshot::Sender<Result<(), ConfigureError>>),
    /// Change keys and peers, which was checked, and use this socket, if one is given.
    Configure(Arc<Set>, Option<Udp>, oneshot::Sender<()>),
    /// Change keys without ending sessions.
    Keys(Arc<[KeyChange]>, oneshot::Sender<()>),
    /// Change the ways to peers.
    Paths(Arc<[(PublicKey, PathChange)]>),
    /// Send this from the port, for somebody else than the engine.
    Send(SocketAddr, Box<[u8]>, Length),
    /// The interface went up, with this socket if the port could be had, or down: close it.
    Up(bool, Option<Udp>, oneshot::Sender<()>),
    /// The interface's MTU is this now.
    Mtu(u16),
    /// Report the private key and the shard's own peers.
    Report(oneshot::Sender<(Option<PrivateKey>, Vec<PeerStatus>)>),
    /// Report what peers with traffic since then have had so far.
    Traffic(Timestamp, oneshot::Sender<Vec<Traffic>>),
    /// Report every network with its peer, those of other shards too.
    Networks(oneshot::Sender<Vec<(IpNet, Slot)>>),
    /// Report what was dropped, and how much was handed over to other shards.
    Counters(oneshot::Sender<(Drops, u64)>),
    /// End, and give back what the shard was made of.
    Stop(oneshot::Sender<Remains>),
}

/// What a shard was made of.
pub(super) struct Remains {
    pub(super) engine: Engine,
    pub(super) tun: Tun,
    pub(super) udp: Option<Udp>,
}

/// A change of configuration that was refused; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetError {
    #[error("cannot listen on UDP port {port}: {error}")]
    Port { port: u16, error: io::Error },
    #[error("cannot mark datagrams with {mark:#x}: {error}")]
    Mark { mark: u32, error: io::Error },
    #[error(transparent)]
    Refused(#[from] ConfigureError),
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

/// The end that speaks to a shard: the main thread by commands, other shards by handovers.
#[derive(Clone)]
pub(super) struct Line {
    commands: mpsc::Sender<Command>,
    handovers: mpsc::SyncSender<Handover>,
    bell: Arc<OwnedFd>,
}

/// The shard's own end.
pub(super) struct Inbox {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) handovers: mpsc::Receiver<Handover>,
    /// Readable when there is something in either: an eventfd.
    pub(super) bell: Arc<OwnedFd>,
}

/// Makes the line of one shard.
pub(super) fn line() -> anyhow::Result<(Line, Inbox)> {
    let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
    let bell = Arc::new(eventfd(0, flags).context("cannot make an eventfd")?);
    let (commands, command_inbox) = mpsc::channel();
    let (handovers, handover_inbox) = mpsc::sync_channel(HANDOVER_LIMIT);
    let line = Line { commands, handovers, bell: Arc::clone(&bell) };
    Ok((line, Inbox { commands: command_inbox, handovers: handover_inbox, bell }))
}

impl Line {
    /// Hands a command over. One that comes too late is dropped, and so is its reply's sender.
    pub(super) fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.ring();
        }
    }

    /// Sends the command that `make` makes around a reply, and waits for it.
    pub(super) async fn ask<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> anyhow::Result<T> {
        self.request(make).await.context("the interface is going away")
    }

    /// As [`Self::ask`], but does not wait: several shards can do it at the same time.
    pub(super) fn request<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        self.send(make(reply));
        answer
    }

    /// Hands over what belongs to this shard; false if it has too much of that already.
    pub(super) fn hand_over(&self, handover: Handover) -> bool {
        let taken = self.handovers.try_send(handover).is_ok();
        self.ring();
        taken
    }

    fn ring(&self) {
        // The counter of an eventfd cannot overflow by ones.
        let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
    }
}

/// The lines of all shards, by their numbers.
pub(super) type Lines = Arc<[Line]>;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use dataplane_common::{IndexMask, ShardId, Shards};
    use engine::{Ecn, Output, Place, Settings, Timestamp};

    use super::*;

    /// What the first of two shards makes of a datagram that belongs to the second.
    fn handover() -> Option<Handover> {
        let mask = IndexMask::new(0);
        let place = Place { shard: ShardId(0), shards: Shards::new(2)?, mask };
        let mut engine = Engine::new(Settings { mtu: 1420, seed: 0, place });
        let mut datagram = [0; 32];
        datagram[0] = 4;
        datagram[5] = 1;
        let from = SocketAddr::from(([192, 0, 2, 1], 1)).into();
        let mut out = Output::default();
        engine.handle_datagram(from, Ecn::NotCapable, &datagram, Timestamp::default(), &mut out);
        out.handovers.pop()
    }

    #[test]
    fn a_shard_that_stands_still_is_handed_so_much_and_no_more() {
        let (line, inbox) = line().expect("an eventfd");
        for _ in 0..HANDOVER_LIMIT {
            assert!(line.hand_over(handover().expect("it is the other's")));
        }
        assert!(!line.hand_over(handover().expect("it is the other's")));
        assert!(inbox.handovers.try_recv().is_ok());
        assert!(line.hand_over(handover().expect("it is the other's")));
    }
}
