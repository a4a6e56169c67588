//! Whether the router brings back what this host sends to its own address outside, and lets in who was
//! never sent to: another socket of this host is the stranger.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use dataplane_common::stun::{BINDING_SUCCESS, COOKIE};
use proto::stun::Transaction;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ask::{ask, fresh_socket};
use crate::io::udp::Length;
use crate::mesh::whereabouts::random_transaction;
use crate::wg::SharedNode;

/// How long a packet to one's own router and back may take.
const BACK: Duration = Duration::from_millis(400);
/// How often it is tried.
const TIMES: u32 = 3;
/// Checks at one time; of more the oldest is let go of.
const AT_ONCE: usize = 8;

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hairpin {
    /// Whether packets come back; nothing if that cannot be known.
    pub(super) back: Option<bool>,
    /// Whether strangers are let in; nothing if that cannot be known, as without the way back.
    pub(super) open: Option<bool>,
}

/// Packets that are out, and who waits for them to come to the WireGuard port.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    waiting: HashMap<Transaction, oneshot::Sender<()>>,
}

impl Awaited {
    /// Takes what came to the port; whether it was waited for.
    pub(crate) fn take(&mut self, datagram: &[u8]) -> bool {
        let transaction = datagram.get(8..20).and_then(|id| Transaction::try_from(id).ok());
        let waiter = transaction.and_then(|transaction| self.waiting.remove(&transaction));
        waiter.is_some_and(|waiter| waiter.send(()).is_ok())
    }

    fn expect(&mut self) -> (Transaction, oneshot::Receiver<()>) {
        self.waiting.retain(|_, waiter| !waiter.is_closed());
        if self.waiting.len() >= 2 * AT_ONCE {
            self.waiting.clear();
        }
        let transaction = random_transaction();
        let (say, came) = oneshot::channel();
        self.waiting.insert(transaction, say);
        (transaction, came)
    }
}

/// A check that is to be made.
pub(super) struct Check {
    outside: SocketAddr,
    relay: SocketAddr,
    /// Before the stranger was sent to, and after.
    tries: [(Transaction, oneshot::Receiver<()>); 2],
}

impl Check {
    /// Of the port's address outside, with a relay that tells the stranger its own.
    pub(super) fn new(outside: SocketAddr, relay: SocketAddr, awaited: &mut Awaited) -> Self {
        Self { outside, relay, tries: [awaited.expect(), awaited.expect()] }
    }

    pub(super) async fn run(self, node: SharedNode) -> Hairpin {
        self.try_run(node).await.unwrap_or_default()
    }

    async fn try_run(self, node: SharedNode) -> std::io::Result<Hairpin> {
        let [uninvited, invited] = self.tries;
        let stranger = fresh_socket().await?;
        if comes(&stranger, self.outside, uninvited).await? {
            return Ok(Hairpin { back: Some(true), open: Some(true) });
        }
        let Some(told) = ask(&stranger, self.relay, self.relay, None).await? else {
            return Ok(Hairpin::default());
        };
        node.lock().await.send_from_port(told.seen, &answer(&[0; 12]), Length::Any);
        let back = comes(&stranger, self.outside, invited).await?;
        Ok(Hairpin { back: Some(back), open: back.then_some(false) })
    }
}

/// Whether it comes to the WireGuard port.
async fn comes(
    stranger: &UdpSocket,
    outside: SocketAddr,
    (transaction, mut came): (Transaction, oneshot::Receiver<()>),
) -> std::io::Result<bool> {
    for _ in 0..TIMES {
        stranger.send_to(&answer(&transaction), outside).await?;
        if let Ok(Ok(())) = timeout(BACK / TIMES, &mut came).await {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What looks like an answer of STUN goes beside WireGuard's messages.
fn answer(transaction: &Transaction) -> Vec<u8> {
    [&BINDING_SUCCESS[..], &[0, 0], &COOKIE, transaction].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_waited_for_is_taken_and_no_more_waits_than_may() {
        let mut awaited = Awaited::default();
        let (transaction, mut came) = awaited.expect();
        assert!(!awaited.take(&answer(&[9; 12])) && !awaited.take(b"short"));
        assert!(awaited.take(&answer(&transaction)) && came.try_recv().is_ok());
        assert!(!awaited.take(&answer(&transaction)), "once");
        let _held: Vec<_> = (0..1000).map(|_| awaited.expect()).collect();
        assert!(awaited.waiting.len() <= 2 * AT_ONCE);
    }
}
