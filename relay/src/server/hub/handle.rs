//! How connections and operators speak with the hub.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::Hub;
use super::messages::{Report, ToHub};

/// How often to try for the hub, some ten nanoseconds each.
const TRIES: usize = 500;

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
    pub(super) async fn ring(&self, mut state: watch::Receiver<State>) {
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
            _ = state.wait_for(|state| *state != State::Runs) => {}
        }
    }
}

/// Rings if who holds it panics: the hub is as it was left then, and its thread has to see that.
struct Alarm<'a>(&'a Bell);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.pull();
        }
    }
}

/// How the hub is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Runs,
    /// Told to end, it has.
    Drained,
    Failed,
}

/// The hub: of its thread, and of whoever has something to say while that sleeps. None when it has ended.
pub(super) type Shared = Arc<Mutex<Option<Hub>>>;

/// The hub, for those who speak with it.
#[derive(Clone)]
pub(in crate::server) struct HubHandle {
    hub: Shared,
    messages: mpsc::Sender<ToHub>,
    bell: Arc<Bell>,
    state: watch::Receiver<State>,
}

impl HubHandle {
    pub(super) const fn new(
        hub: Shared,
        messages: mpsc::Sender<ToHub>,
        bell: Arc<Bell>,
        state: watch::Receiver<State>,
    ) -> Self {
        Self { hub, messages, bell, state }
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

    /// Has the hub do all this here and now, if nobody is at it; else it waits for the hub's thread, behind
    /// what was said before. Only one who finds too much waiting waits himself.
    pub(in crate::server) fn tell_all(&self, messages: &mut Vec<ToHub>) -> Result<(), Ended> {
        let _alarm = Alarm(&self.bell);
        for _ in 0..TRIES {
            match self.hub.try_lock() {
                Ok(hub) => return self.do_all(hub, messages),
                // Others who carry connections are soon done; the port of lanes may take a round.
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
                Err(TryLockError::Poisoned(_)) => return Err(Ended),
            }
        }
        let mut rest = std::mem::take(messages).into_iter();
        while let Ok(room) = self.messages.try_reserve() {
            let Some(message) = rest.next() else {
                self.bell.pull();
                return Ok(());
            };
            room.send(message);
        }
        messages.extend(rest);
        self.do_all(self.hub.lock().map_err(|_| Ended)?, messages)
    }

    fn do_all(
        &self,
        mut shared: MutexGuard<'_, Option<Hub>>,
        messages: &mut Vec<ToHub>,
    ) -> Result<(), Ended> {
        shared.as_mut().ok_or(Ended)?.hear_all(messages);
        self.leave(shared);
        Ok(())
    }

    /// Leaves the hub to its thread, which may have to do something before it wakes by itself.
    fn leave(&self, shared: MutexGuard<'_, Option<Hub>>) {
        let wakes = shared.as_ref().is_some_and(Hub::wants_its_thread);
        drop(shared);
        if wakes {
            self.bell.pull();
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
        let _alarm = Alarm(&self.bell);
        let message = match self.hub.try_lock() {
            Ok(mut hub) if asleep => match hub.as_mut().ok_or(Ended)?.hear(message) {
                Ok(()) => {
                    self.leave(hub);
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

    /// Waits until the hub has ended; an error means that nobody has told it to.
    pub(in crate::server) async fn ended(&mut self) -> Result<(), Failed> {
        match self.state.wait_for(|state| *state != State::Runs).await.as_deref() {
            Ok(State::Drained) => Ok(()),
            // Its thread has panicked if that went without a word.
            Ok(_) | Err(_) => Err(Failed),
        }
    }
}

/// The hub has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the relay has ended")]
pub(in crate::server) struct Ended;

/// The relay has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the relay has failed, by a defect of its own: what was logged before says where")]
pub struct Failed;

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::task::{Context, Wake, Waker};
    use std::time::Instant;

    use super::*;
    use crate::core::Settings;
    use crate::server::hub::{Ports, start};
    use crate::server::stun_sockets::StunSockets;
    use crate::server::xdp::XdpStatus;

    #[tokio::test]
    async fn who_carries_many_waits_for_nobody_and_keeps_the_order() {
        let ports = Ports { lanes: None, stun: StunSockets::default() };
        let hub = start(Settings::default(), ports, None, XdpStatus::default()).unwrap();
        let mut answers = Vec::new();
        let mut ask = || {
            let (reply, answer) = oneshot::channel();
            answers.push(answer);
            ToHub::Report(reply)
        };
        let (first, second, mut third) = (vec![ask(), ask()], vec![ask()], vec![ask()]);
        let busy = hub.hub.lock().unwrap();
        for mut messages in [first, second] {
            // It returns, though the hub is held here.
            hub.tell_all(&mut messages).unwrap();
            assert!(messages.is_empty());
        }
        assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()));
        drop(busy);
        hub.tell_all(&mut third).unwrap();
        for answer in answers {
            let within = tokio::time::timeout(Duration::from_secs(30), answer);
            assert!(within.await.unwrap().is_ok());
        }
    }

    /// Who waits for an answer so, has the hub panic when it gives it.
    struct Bomb;

    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("as it should");
        }
    }

    #[tokio::test]
    async fn a_panic_while_it_sleeps_ends_it_and_is_no_drain() {
        let ports = || Ports { lanes: None, stun: StunSockets::default() };
        let start = || start(Settings::default(), ports(), None, XdpStatus::default()).unwrap();
        let mut drained = start();
        drained.drain(Duration::ZERO).await;
        let mut hub = start();
        let (reply, mut report) = oneshot::channel();
        let bomb = Waker::from(Arc::new(Bomb));
        assert!(Pin::new(&mut report).poll(&mut Context::from_waker(&bomb)).is_pending());
        let deadline = Instant::now() + Duration::from_secs(30);
        while !hub.bell.sleeping.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "it does not rest");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let said = catch_unwind(AssertUnwindSafe(|| hub.say(ToHub::Report(reply)).is_ok()));
        assert!(said.is_err(), "the bomb went off elsewhere");
        let soon = Duration::from_secs(30);
        assert_eq!(tokio::time::timeout(soon, hub.ended()).await, Ok(Err(Failed)));
        assert!(hub.report().await.is_err());
        assert_eq!(tokio::time::timeout(soon, drained.ended()).await, Ok(Ok(())));
    }
}
