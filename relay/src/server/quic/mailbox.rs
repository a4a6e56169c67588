//! What others tell a shard: which of its connections have something to write, what has come for it to
//! another shard, and when to end.

use std::io;
use std::mem::swap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::ConnectionHandle;
use rustix::event::{EventfdFlags, eventfd};

use crate::server::udp::Arrival;

/// Datagrams that wait here at most: the others are lost, as they are in a full buffer.
const WAITING: usize = 4096;

/// See the module.
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    bell: OwnedFd,
    sleeping: AtomicBool,
}

/// What has come.
#[derive(Default)]
pub(super) struct Mail {
    /// Connections that have something to write.
    pub(super) ready: Vec<ConnectionHandle>,
    /// What came to another shard.
    pub(super) datagrams: Vec<(Arrival, BytesMut)>,
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

    /// Passes on what another shard has received.
    pub(super) fn pass_on(&self, arrival: Arrival, datagram: BytesMut) {
        let mut mail = self.lock();
        if mail.datagrams.len() < WAITING {
            mail.datagrams.push((arrival, datagram));
        }
        drop(mail);
        self.ring();
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
        mail.ready.is_empty() && mail.datagrams.is_empty() && !mail.stop
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

    /// Takes what has come, in place of what came before; the word to end stays.
    pub(super) fn take(&self, into: &mut Mail) {
        into.ready.clear();
        into.datagrams.clear();
        let mut mail = self.lock();
        swap(&mut into.ready, &mut mail.ready);
        swap(&mut into.datagrams, &mut mail.datagrams);
        (into.end, into.stop) = (mail.end, mail.stop);
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

impl Mail {
    /// When to end, if that was said.
    pub(super) fn end(&self) -> Option<End> {
        if self.stop { Some(End::Stop) } else { self.end.map(End::At) }
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
        let mut mail = Mail::default();
        mailbox.take(&mut mail);
        assert_eq!(mail.ready, [ConnectionHandle(3)]);
        assert!(mail.end().is_none() && mailbox.may_rest());
        other.wake_by_ref();
        assert!(rings(&mailbox));
        mailbox.awake(true);
        assert!(!rings(&mailbox));
        mailbox.end(Instant::now());
        mailbox.take(&mut mail);
        assert_eq!(mail.ready, [ConnectionHandle(7)]);
        assert!(matches!(mail.end(), Some(End::At(_))));
        mailbox.stop();
        mailbox.take(&mut mail);
        assert!(matches!(mail.end(), Some(End::Stop)));
        assert!(!mailbox.may_rest());
    }
}
