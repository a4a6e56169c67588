//! Packets sent in a steady rhythm by one thread and received by another, counted and timed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How long a receiver waits at most before it looks whether it shall stop.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// After the last packet is sent, no other is on its way any more.
const STRAGGLERS: Duration = Duration::from_millis(300);

/// A flow, until it is dropped.
pub(super) struct Flow {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    receiver: Option<JoinHandle<()>>,
}

struct Shared {
    start: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    /// Nanoseconds since `start`; zero is never.
    last: AtomicU64,
    stop_sending: AtomicBool,
    stop_receiving: AtomicBool,
}

impl Flow {
    /// Starts both: `send` says whether it sent the packet of a number, `receive` waits for [`TICK`]
    /// at most and says whether one came.
    pub(super) fn start(
        every: Duration,
        mut send: impl FnMut(u64) -> bool + Send + 'static,
        mut receive: impl FnMut() -> bool + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            last: AtomicU64::new(0),
            stop_sending: AtomicBool::new(false),
            stop_receiving: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let sender = thread::spawn(move || {
            let mut number = 0;
            while !own.stop_sending.load(Ordering::Relaxed) {
                if send(number) {
                    number += 1;
                    own.sent.store(number, Ordering::Relaxed);
                }
                if !every.is_zero() {
                    thread::sleep(every);
                }
            }
        });
        let own = Arc::clone(&shared);
        let receiver = thread::spawn(move || {
            while !own.stop_receiving.load(Ordering::Relaxed) {
                if receive() {
                    let since = own.start.elapsed().as_nanos();
                    own.last.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
                    own.received.fetch_add(1, Ordering::Release);
                }
            }
        });
        Self { shared, sender: Some(sender), receiver: Some(receiver) }
    }

    /// Packets sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Acquire)
    }

    /// When the last packet came, if any did.
    pub(super) fn last(&self) -> Option<Instant> {
        match self.shared.last.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(self.shared.start + Duration::from_nanos(nanos)),
        }
    }

    /// Waits until so many more have come.
    pub(super) fn wait_for(&self, more: u64, patience: Duration) -> Result<()> {
        let (goal, deadline) = (self.received() + more, Instant::now() + patience);
        while self.received() < goal {
            let sent = self.sent();
            ensure!(Instant::now() < deadline, "a live flow stands still ({sent} sent)");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Ends it, the sender first; gives how many were sent and how many came.
    pub(super) fn finish(mut self) -> (u64, u64) {
        self.shared.stop_sending.store(true, Ordering::Relaxed);
        join(self.sender.take());
        thread::sleep(STRAGGLERS);
        (self.sent(), self.received())
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.stop_sending.store(true, Ordering::Relaxed);
        self.shared.stop_receiving.store(true, Ordering::Relaxed);
        join(self.sender.take());
        join(self.receiver.take());
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(Err(panic)) = thread.map(JoinHandle::join) {
        // It has been printed; a drop during another panic must not panic again.
        if !thread::panicking() {
            std::panic::resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_lost_on_the_way_is_missing_at_the_end() {
        let (sender, receiver) = mpsc::channel();
        let flow = Flow::start(
            Duration::from_micros(100),
            move |number| number == 3 || sender.send(number).is_ok(),
            move || receiver.recv_timeout(TICK).is_ok(),
        );
        flow.wait_for(50, Duration::from_secs(5)).unwrap();
        assert!(flow.last().is_some());
        let (sent, received) = flow.finish();
        assert_eq!(sent - received, 1);
    }
}
