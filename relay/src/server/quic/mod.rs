//! QUIC: a stream for control, datagrams for packets, and further streams for packets that are too
//! long for a datagram of the path, each on one of its own.
//!
//! Each core has a [shard](shard): a socket, the connections that came by it, and a thread for them,
//! which runs to completion. What a round of it has read is told to the hub at once, and what it has to
//! write leaves in one call; a packet costs no task, no wake and no timer of its own.

mod client;
mod connection;
mod greeting;
mod long;
mod mailbox;
mod outgoing;
mod settings;
mod shard;
mod steering;
mod streams;
mod table;
mod timers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::watch;

use super::admission::Door;
use super::tls::Identity;
use super::udp::Udp;
use mailbox::Mailbox;
use settings::Settings;
use shard::{Shard, Shards};

/// Takes connections until it is dropped.
pub(super) struct Quic {
    address: SocketAddr,
    mailboxes: Arc<[Arc<Mailbox>]>,
    /// Changes, or closes, when a shard ends.
    running: watch::Receiver<()>,
}

/// Listens and serves, by a thread for each core.
pub(super) fn start(address: SocketAddr, identity: &Identity, door: &Arc<Door>) -> Result<Quic> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let sockets = steering::open(address, cores)?;
    let address = sockets.address;
    let settings = Settings::new(identity)?;
    let (end, running) = watch::channel(());
    let mailbox = |_: &_| Mailbox::new().map(Arc::new);
    let mailboxes = sockets.all.iter().map(mailbox).collect::<io::Result<_>>();
    let mailboxes: Arc<[_]> = mailboxes.context("eventfd")?;
    let quic = Quic { address, mailboxes: mailboxes.clone(), running };
    let steering = sockets.steering;
    for (number, socket) in (0..).zip(sockets.all) {
        let udp = Udp::of(socket, address).and_then(Udp::knows_ecn);
        let udp = udp.context("preparing the socket of `quic`")?;
        let endpoint = settings.endpoint(steering, number);
        let all = Shards { steering, number, mailboxes: mailboxes.clone() };
        let shard = Shard::new(all, udp, endpoint, door.clone());
        let end = end.clone();
        std::thread::Builder::new()
            .name(format!("relay-quic-{number}"))
            .spawn(move || {
                if let Err(error) = shard.run() {
                    tracing::error!(%error, "a thread of QUIC has failed");
                }
                drop(end);
            })
            .context("starting a thread of QUIC")?;
    }
    Ok(quic)
}

impl Quic {
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, and ends when those that there are have ended; closes them after this.
    pub(super) fn end(&self, within: Duration) {
        let at = Instant::now() + within;
        self.mailboxes.iter().for_each(|mailbox| mailbox.end(at));
    }

    /// Waits until a shard has ended: as long as nobody tells it to, that is a defect.
    pub(super) async fn ended(&self) {
        // Nothing is ever said: it closes.
        let _ = self.running.clone().changed().await;
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.stop());
    }
}
