//! What others tell a shard: which of its connections have something to write, and when to end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

use quinn_proto::ConnectionHandle;
use rustix::event::{EventfdFlags, eventfd};

/// See the module.
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    bell: OwnedFd,
    sleeping: AtomicBool,
}

#[derive(Default)]
struct Mail {
    ready: Vec<ConnectionHandle>,
    end: Option<Instant>,
    stop: bool,
}

/// When to end.
pub(super) enum End {
    /// Now.
    Stop,
    /// When there is no connection, and close those that are left then.
    At(Instant),
}

/// Wakes a shard for one of its connections.
struct Pull {
    mailbox: Arc<Mailbox>,
    connection: ConnectionHandle,
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { mail: Mutex::default(), bell, sleeping: AtomicBool::new(false) })
    }

    /// What wakes this connection.
    pub(super) fn waker(self: &Arc<Self>, connection: ConnectionHandle) -> Waker {
        Arc::new(Pull { mailbox: self.clone(), connection }).into()
    }

    pub(super) fn end(&self, at: Instant) {
        self.lock().end = Some(at);
        self.ring();
    }

    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.ring();
    }

    /// Whether the shard may rest: nothing has come. To be asked before each rest.
    pub(super) fn may_rest(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let mail = self.lock();
        mail.ready.is_empty() && !mail.stop
    }

    /// The shard is awake: it will look by itself.
    pub(super) fn awake(&self, rung: bool) {
        self.sleeping.store(false, Ordering::SeqCst);
        if rung {
            let mut count = [0; 8];
            // Nothing to read means that an earlier look has seen it.
            let _ = rustix::io::read(&self.bell, &mut count);
        }
    }

    /// The connections that have something to write, and when to end if that was said.
    pub(super) fn take(&self, ready: &mut Vec<ConnectionHandle>) -> Option<End> {
        let mut mail = self.lock();
        ready.append(&mut mail.ready);
        if mail.stop { Some(End::Stop) } else { mail.end.map(End::At) }
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        // Nobody panics while it is held.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only who finds the shard asleep rings.
    fn ring(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // A full counter rings as well.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Wake for Pull {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mailbox.lock().ready.push(self.connection);
        self.mailbox.ring();
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn rings(mailbox: &Mailbox) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(mailbox, PollFlags::IN)], Some(&now)).unwrap() == 1
    }

    #[test]
    fn who_sleeps_is_woken_once_and_who_is_awake_looks() {
        let mailbox = Arc::new(Mailbox::new().unwrap());
        let [one, other] = [3, 7].map(|number| mailbox.waker(ConnectionHandle(number)));
        one.wake_by_ref();
        assert!(!rings(&mailbox), "it is awake");
        assert!(!mailbox.may_rest(), "something has come");
        let mut ready = Vec::new();
        assert!(mailbox.take(&mut ready).is_none());
        assert!(mailbox.may_rest());
        other.wake_by_ref();
        assert!(rings(&mailbox));
        mailbox.awake(true);
        assert!(!rings(&mailbox));
        mailbox.end(Instant::now());
        assert!(matches!(mailbox.take(&mut ready), Some(End::At(_))));
        assert_eq!(ready, [ConnectionHandle(3), ConnectionHandle(7)]);
        mailbox.stop();
        assert!(matches!(mailbox.take(&mut ready), Some(End::Stop)));
    }
}
