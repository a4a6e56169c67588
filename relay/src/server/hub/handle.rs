//! How connections and operators speak with the hub.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::Hub;
use super::messages::{Report, ToHub};

/// Whether the hub was there to take a message.
type Sent = Result<(), SendError<ToHub>>;

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

    /// Only who finds the hub asleep rings: an awake one looks before it sleeps.
    fn pull(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.rope.notify_one();
        }
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

/// The hub: of its thread, and of whoever has something to say while that sleeps. None when it has ended.
pub(super) type Shared = Arc<Mutex<Option<Hub>>>;

/// The hub, for those who speak with it.
#[derive(Clone)]
pub(in crate::server) struct HubHandle {
    hub: Shared,
    messages: mpsc::Sender<ToHub>,
    bell: Arc<Bell>,
    ended: watch::Receiver<bool>,
}

impl HubHandle {
    pub(super) const fn new(
        hub: Shared,
        messages: mpsc::Sender<ToHub>,
        bell: Arc<Bell>,
        ended: watch::Receiver<bool>,
    ) -> Self {
        Self { hub, messages, bell, ended }
    }

    /// Tells the hub, at once if there is room; an error means that it has ended.
    ///
    /// No `async fn`, which would keep room for a message in each client that is silent.
    pub(in crate::server) fn tell(
        &self,
        message: ToHub,
    ) -> impl Future<Output = Result<(), Ended>> + Send + use<'_> {
        let waiting = self.say(message);
        async move {
            if let Some(waiting) = waiting? {
                waiting.await.map_err(|_| Ended)?;
                self.bell.pull();
            }
            Ok(())
        }
    }

    /// Has the hub do what there is to do here and now, if its thread sleeps: to wake it for one message
    /// costs more than most messages do. An awake one is left to its work, of which lanes are a part.
    /// What finds no room among those that wait is given back, on its way.
    fn say(
        &self,
        message: ToHub,
    ) -> Result<Option<Pin<Box<impl Future<Output = Sent> + Send + use<'_>>>>, Ended> {
        let asleep = self.bell.sleeping.load(Ordering::SeqCst);
        let message = match self.hub.try_lock() {
            Ok(mut hub) if asleep => match hub.as_mut().ok_or(Ended)?.hear(message) {
                Ok(()) => {
                    let wakes = hub.as_ref().is_some_and(Hub::wants_its_thread);
                    drop(hub);
                    if wakes {
                        self.bell.pull();
                    }
                    return Ok(None);
                }
                Err(message) => message,
            },
            Ok(_) | Err(TryLockError::WouldBlock) => message,
            Err(TryLockError::Poisoned(_)) => return Err(Ended),
        };
        match self.messages.try_send(message) {
            Ok(()) => {
                self.bell.pull();
                Ok(None)
            }
            Err(TrySendError::Full(message)) => Ok(Some(Box::pin(self.messages.send(message)))),
            Err(TrySendError::Closed(_)) => Err(Ended),
        }
    }

    pub(in crate::server) async fn report(&self) -> Result<Report, Ended> {
        let (reply, report) = oneshot::channel();
        self.tell(ToHub::Report(reply)).await?;
        report.await.map_err(|_| Ended)
    }

    pub(in crate::server) async fn drain(&self, within: Duration) {
        // One that has ended is drained.
        let _ = self.tell(ToHub::Drain(within)).await;
    }

    /// Waits until the hub has ended.
    pub(in crate::server) async fn ended(&mut self) {
        // Dropped without a word is ended too.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

/// The hub has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the relay has ended")]
pub(in crate::server) struct Ended;
