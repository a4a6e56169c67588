//! What the hub gives to a connection, in order. A channel of tokio's has room for 32 messages from
//! the start and keeps it; a silent client is to cost little.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::hub::ToConnection;

/// Room for messages that a silent client keeps.
const KEPT: usize = 4;

/// The hub's end. Dropped, it closes the line behind what was given.
pub(super) struct LineSender(Arc<Line>);

/// The connection's end. Dropped, nothing more is kept for it.
pub(super) struct LineReceiver(Arc<Line>);

struct Line(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    messages: VecDeque<ToConnection>,
    closed: bool,
    /// Who is to be woken when there is something.
    waker: Option<Waker>,
}

/// Both ends. The core bounds how much waits.
pub(super) fn line() -> (LineSender, LineReceiver) {
    let line = Arc::new(Line(Mutex::default()));
    (LineSender(line.clone()), LineReceiver(line))
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nobody panics while it is held, and what waits is whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes who waits, with the line unlocked.
fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let waker = waiting.waker.take();
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl LineSender {
    /// Gives a message; a connection that has ended says so by itself.
    pub(super) fn send(&self, message: ToConnection) {
        let mut waiting = self.0.lock();
        if waiting.closed {
            return;
        }
        waiting.messages.push_back(message);
        wake(waiting);
    }
}

impl Drop for LineSender {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.closed = true;
        wake(waiting);
    }
}

impl LineReceiver {
    /// Takes what waits, so many at most; none if the line is closed and empty.
    pub(super) async fn receive(&mut self, into: &mut Vec<ToConnection>, most: usize) -> usize {
        poll_fn(|context| self.take(into, most, context.waker()).map_or(Poll::Pending, Poll::Ready))
            .await
    }

    /// Takes what waits, as [`receive`](Self::receive) does; `None` if there is nothing yet: then this is
    /// woken when there is.
    pub(super) fn take(
        &self,
        into: &mut Vec<ToConnection>,
        most: usize,
        waker: &Waker,
    ) -> Option<usize> {
        let mut waiting = self.0.lock();
        let count = waiting.messages.len().min(most);
        if count == 0 {
            if !waiting.closed {
                waiting.waker = Some(waker.clone());
            }
            return waiting.closed.then_some(0);
        }
        into.extend(waiting.messages.drain(..count));
        if waiting.messages.is_empty() {
            waiting.messages.shrink_to(KEPT);
        }
        Some(count)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().messages.is_empty()
    }
}

impl Drop for LineReceiver {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.closed = true;
        let unread = std::mem::take(&mut waiting.messages);
        drop(waiting);
        drop(unread);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::relay::RelayFrame;

    use super::*;
    use crate::core::Delivery;

    fn message(number: u64) -> ToConnection {
        ToConnection::Deliver(Box::new(Delivery::Control(RelayFrame::Ping(number))))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_message_comes_once_in_order_and_then_the_end() {
        const COUNT: u64 = 10_000;
        let (sender, mut receiver) = line();
        let hub = std::thread::spawn(move || {
            for number in 0..COUNT {
                sender.send(message(number));
                if number.is_multiple_of(100) {
                    std::thread::yield_now();
                }
            }
        });
        let (mut next, mut given) = (0, Vec::new());
        while receiver.receive(&mut given, 7).await > 0 {
            assert!(given.len() <= 7);
            for message in given.drain(..) {
                let ToConnection::Deliver(delivery) = message else { panic!("closed") };
                let Delivery::Control(frame) = *delivery else { panic!("a packet") };
                assert_eq!(frame, RelayFrame::Ping(next));
                next += 1;
            }
        }
        assert_eq!(next, COUNT);
        hub.join().expect("ends");
        assert!(receiver.0.lock().messages.capacity() <= KEPT, "what was needed is given back");
    }

    #[tokio::test]
    async fn what_nobody_receives_is_not_kept_and_a_silent_line_waits() {
        let (sender, mut receiver) = line();
        let mut given = Vec::new();
        let wait = Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, receiver.receive(&mut given, 9)).await.is_err());
        sender.send(message(1));
        assert_eq!(receiver.receive(&mut given, 9).await, 1);
        sender.send(message(2));
        let line = receiver.0.clone();
        drop(receiver);
        sender.send(message(3));
        assert!(line.lock().messages.is_empty());
    }
}
