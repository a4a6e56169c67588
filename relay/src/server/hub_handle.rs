//! How connections and operators speak with the hub.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proto::control::RevocationFrame;
use proto::relay::Refusal;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::interfaces::Interface;
use super::kernel_switch::KernelReport;
use super::line::LineSender;
use super::mesh::ToMesh;
use super::xdp::XdpStatus;
use crate::core::{Admitted, ClientId, Counters, Delivery, Members, MeshStatus, Totals, Way};

/// Messages that wait for the hub; who has more to say waits.
const WAITING: usize = 4096;

/// What the hub gives to a connection. The core bounds how much of it is not written yet.
pub(super) enum ToConnection {
    /// Boxed: a line has room for some of these from the start, and a silent client should cost
    /// little.
    Deliver(Box<Delivery>),
    Close,
}

/// What the hub is told.
pub(super) enum ToHub {
    /// A node has proven itself.
    Join(Box<Join>),
    /// A client has a new ticket.
    Renew(ClientId, Box<Admitted>),
    /// Frames of a client's stream, whole ones, each with its length.
    Frames(ClientId, Bytes),
    /// Frames of a client's datagrams, without lengths.
    Datagrams(ClientId, Vec<Bytes>),
    /// A connection has written so much.
    Written(ClientId, usize),
    /// A client has broken a rule.
    Refuse(ClientId, Refusal),
    /// A connection has ended.
    Left(ClientId),
    /// What concerns other relays of the region.
    Mesh(ToMesh),
    /// The control plane says who is not to be served.
    Revoke(Box<RevocationFrame>),
    /// Only these are to be served.
    Serve(Box<Members>),
    /// An operator wants to know.
    Report(oneshot::Sender<Report>),
    /// The host's interfaces have changed.
    Interfaces(Vec<Interface>),
    /// The relay is to end.
    Drain(Duration),
}

/// A node that has proven itself.
pub(super) struct Join {
    pub(super) admitted: Admitted,
    pub(super) way: Way,
    pub(super) line: LineSender,
    pub(super) reply: oneshot::Sender<Result<ClientId, Refusal>>,
}

/// What the hub has counted.
pub(super) struct Report {
    pub(super) totals: Totals,
    pub(super) counters: Counters,
    /// Ends of lanes that are bound.
    pub(super) bound: usize,
    /// The region, if there is one.
    pub(super) mesh: Option<MeshStatus>,
    /// Where lanes are switched.
    pub(super) xdp: XdpStatus,
    /// What the kernel has counted, if it switches.
    pub(super) kernel: Option<KernelReport>,
}

/// Rings when the hub sleeps.
pub(super) struct Bell {
    pub(super) file: OwnedFd,
    pub(super) sleeping: AtomicBool,
    rope: Notify,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let file = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { file, sleeping: AtomicBool::new(false), rope: Notify::new() })
    }

    /// Rings whenever it is pulled, until the hub has ended: not before the connections that are ready
    /// have had their turn. A hub that is woken for each message has a core's switch for each.
    pub(super) async fn ring(&self, mut ended: watch::Receiver<bool>) {
        let ring = async {
            loop {
                self.rope.notified().await;
                tokio::task::yield_now().await;
                // A full counter rings as well.
                let _ = rustix::io::write(&self.file, &1_u64.to_ne_bytes());
            }
        };
        tokio::select! {
            () = ring => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
    }
}

/// The hub, for those who speak with it.
#[derive(Clone)]
pub(super) struct HubHandle {
    messages: mpsc::Sender<ToHub>,
    bell: Arc<Bell>,
    ended: watch::Receiver<bool>,
}

impl HubHandle {
    pub(super) fn new(
        bell: Arc<Bell>,
        ended: watch::Receiver<bool>,
    ) -> (Self, mpsc::Receiver<ToHub>) {
        let (messages, inbox) = mpsc::channel(WAITING);
        (Self { messages, bell, ended }, inbox)
    }

    /// Tells the hub, at once if there is room; an error means that it has ended.
    ///
    /// No `async fn`, which would keep room for a message in each client that is silent.
    pub(super) fn tell(
        &self,
        message: ToHub,
    ) -> impl Future<Output = Result<(), Ended>> + Send + use<'_> {
        let waiting = match self.messages.try_send(message) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(message)) => Ok(Some(Box::pin(self.messages.send(message)))),
            Err(TrySendError::Closed(_)) => Err(Ended),
        };
        async move {
            if let Some(waiting) = waiting? {
                waiting.await.map_err(|_| Ended)?;
            }
            // Only who finds it asleep rings: an awake hub looks before it sleeps.
            if self.bell.sleeping.swap(false, Ordering::SeqCst) {
                self.bell.rope.notify_one();
            }
            Ok(())
        }
    }

    pub(super) async fn report(&self) -> Result<Report, Ended> {
        let (reply, report) = oneshot::channel();
        self.tell(ToHub::Report(reply)).await?;
        report.await.map_err(|_| Ended)
    }

    pub(super) async fn drain(&self, within: Duration) {
        // One that has ended is drained.
        let _ = self.tell(ToHub::Drain(within)).await;
    }

    /// Waits until the hub has ended.
    pub(super) async fn ended(&mut self) {
        // Dropped without a word is ended too.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

/// The hub has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the relay has ended")]
pub(super) struct Ended;
