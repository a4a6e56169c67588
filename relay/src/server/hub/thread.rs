//! The hub's thread: rounds, and the waiting between them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::handle::{Bell, Shared};
use crate::server::stun_sockets;
use crate::server::udp::Received;

/// See the module.
pub(super) struct Thread {
    pub(super) hub: Shared,
    pub(super) bell: Arc<Bell>,
    /// The port of lanes and, if there is one, those of STUN alone, to wait for.
    pub(super) ports: Vec<OwnedFd>,
}

/// Which of them have something.
#[derive(Clone, Copy, Default)]
pub(super) struct Ready {
    pub(super) lanes: bool,
    pub(super) stun: bool,
}

impl Thread {
    pub(super) fn run(&self) -> io::Result<()> {
        let mut received = Received::new();
        let mut ready = Ready::default();
        loop {
            let Ok(mut shared) = self.hub.lock() else {
                return Err(io::Error::other("who spoke with it has panicked"));
            };
            let Some(hub) = shared.as_mut() else { return Ok(()) };
            hub.round(ready, &mut received);
            if hub.ended {
                // Its lines and links close, and its port.
                drop(shared.take());
                return Ok(());
            }
            self.bell.sleeping.store(true, Ordering::SeqCst);
            let left = hub.rest();
            drop(shared);
            ready = self.wait(left)?;
        }
    }

    /// Waits until there is something to do; says which ports have something.
    fn wait(&self, left: Option<Duration>) -> io::Result<Ready> {
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let bell = &self.bell.file;
        let mut all: [_; 2 + stun_sockets::MOST] = std::array::from_fn(|place| {
            let port = place.checked_sub(1).and_then(|port| self.ports.get(port));
            PollFd::new(port.unwrap_or(bell), PollFlags::IN)
        });
        let fds = &mut all[..=self.ports.len()];
        match poll(fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut have = fds.iter().map(|fd| !fd.revents().is_empty());
        let rung = have.next().unwrap_or(false);
        let ready = Ready { lanes: have.next().unwrap_or(false), stun: have.any(|has| has) };
        self.bell.sleeping.store(false, Ordering::SeqCst);
        if rung {
            let mut count = [0; 8];
            // Nothing to read means that an earlier round has seen it.
            let _ = rustix::io::read(bell, &mut count);
        }
        Ok(ready)
    }
}
