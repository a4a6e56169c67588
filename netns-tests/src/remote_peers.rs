//! Many WireGuard peers of one tunnel, played by one thread: a thousand daemons would measure the
//! machine, not the tunnel that serves them.
//!
//! Each peer is an engine of its own, with its own key and session, its own address outside and
//! inside. All of them share one socket: the host takes a whole network for its own, and each
//! datagram names the address that it leaves from.

mod packet;
mod peer;
mod port;

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use engine::{Output, Timestamp};

use crate::flood::{Delivery, Round, Sink};
use crate::host::Host;
use crate::wireguard::{KeyFile, OUTER_A, Tunnel};

use peer::Peer;
use port::Port;

/// Where the peers are outside, and which addresses they use inside.
const OUTSIDE: [u8; 2] = [10, 64];
const INSIDE: [u8; 2] = [10, 65];
/// The most peers: what the last two bytes of an address count without 0 and 255.
const LIMIT: usize = 50_000;

/// Between two initiations, so that a burst of them is not lost in the tunnel's socket.
const INITIATE_EVERY: Duration = Duration::from_micros(500);
/// Without an answer for so long, those that have no session ask again.
const QUIET: Duration = Duration::from_millis(200);
/// WireGuard asks again after five seconds; the peers' clocks are set forward by that.
const RETRY: Duration = Duration::from_secs(6);
/// How often they ask: at first, again with the cookie that a loaded tunnel gave, and once more for
/// those whose datagram was lost.
const ATTEMPTS: usize = 6;
/// Datagrams between two looks at the clock.
const CLOCK_EVERY: usize = 32;

/// Peers of one tunnel, each with a session.
pub struct RemotePeers {
    peers: Vec<Peer>,
    port: Port,
    clock: Clock,
    out: Output,
}

impl RemotePeers {
    /// Configures `count` peers at a tunnel that is up in the second of
    /// [`wired_hosts`](crate::wireguard::wired_hosts), and connects them from the first.
    ///
    /// # Errors
    /// When the tunnel does not take them, or not all get a session.
    pub fn connect(from: &Host, tunnel: &Tunnel<'_>, to: SocketAddr, count: usize) -> Result<Self> {
        ensure!((1..=LIMIT).contains(&count), "{count} peers: 1 to {LIMIT} can be had");
        let [a, b] = OUTSIDE;
        from.ip(["route", "add", "local", &format!("{a}.{b}.0.0/16"), "dev", "lo"])?;
        tunnel.host().route(&format!("{a}.{b}.0.0/16"), OUTER_A[0])?;
        let clock = Clock::start();
        let peers = (0..count)
            .map(|number| {
                Peer::new(
                    number,
                    address(OUTSIDE, number),
                    address(INSIDE, number),
                    tunnel.public_key(),
                    to,
                    clock.now(),
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let sections: String = peers.iter().map(Peer::section).collect();
        let file = KeyFile::new(&sections)?;
        tunnel.host().run(["wg", "addconf", tunnel.name(), &file.path()])?;
        let mut all = Self { peers, port: Port::open(from, to)?, clock, out: Output::default() };
        all.shake_hands()?;
        Ok(all)
    }

    /// Sends datagrams with so many bytes of UDP payload, from one peer after the other, through the
    /// tunnel to an address of its host, as fast as it goes.
    ///
    /// # Errors
    /// When a socket cannot be had or does not send.
    pub fn flood(
        &mut self,
        to: &Host,
        address: SocketAddr,
        payload: usize,
        time: Duration,
    ) -> Result<Delivery> {
        let sink = Sink::open(to, address)?;
        for peer in &mut self.peers {
            peer.prepare(sink.address(), payload)?;
        }
        let round = Round::new();
        sink.count_while(round, || self.send(round, time))
    }

    fn send(&mut self, round: Round, time: Duration) -> Result<u64> {
        let started = Instant::now();
        let mut now = self.clock.now();
        let mut sent: u32 = 0;
        loop {
            for some in self.peers.chunks_mut(CLOCK_EVERY) {
                for peer in some {
                    peer.seal(round, sent, now, &mut self.out);
                    self.port.send(peer.outside, &mut self.out)?;
                    sent += 1;
                }
                if started.elapsed() >= time {
                    return Ok(sent.into());
                }
                now = self.clock.now();
            }
        }
    }

    fn shake_hands(&mut self) -> Result<()> {
        for attempt in 0..ATTEMPTS {
            if self.all_connected() {
                return Ok(());
            }
            if attempt > 0 {
                self.clock.skip(RETRY);
            }
            for number in 0..self.peers.len() {
                let now = self.clock.now();
                let peer = &mut self.peers[number];
                if !peer.has_session() {
                    peer.ask(now, &mut self.out);
                    self.port.send(peer.outside, &mut self.out)?;
                    thread::sleep(INITIATE_EVERY);
                    self.receive()?;
                }
            }
            let mut last = Instant::now();
            while last.elapsed() < QUIET && !self.all_connected() {
                if self.receive()? {
                    last = Instant::now();
                }
                thread::sleep(INITIATE_EVERY);
            }
        }
        let without = self.peers.iter().filter(|peer| !peer.has_session()).count();
        ensure!(without == 0, "{without} of {} peers got no session", self.peers.len());
        Ok(())
    }

    fn all_connected(&self) -> bool {
        self.peers.iter().all(Peer::has_session)
    }

    /// Takes what has arrived; whether there was anything.
    fn receive(&mut self) -> Result<bool> {
        let mut any = false;
        while let Some(arrived) = self.port.receive()? {
            any = true;
            let Some(peer) = number(arrived.at).and_then(|number| self.peers.get_mut(number))
            else {
                continue;
            };
            for datagram in arrived.datagrams() {
                peer.hear(arrived.from, datagram, self.clock.now(), &mut self.out);
                self.port.send(peer.outside, &mut self.out)?;
            }
        }
        Ok(any)
    }
}

/// The address of a peer in a network of 16 bits.
fn address([a, b]: [u8; 2], number: usize) -> Ipv4Addr {
    // LIMIT keeps the third byte in its bounds.
    let third = u8::try_from(number / 250).unwrap_or(u8::MAX);
    Ipv4Addr::new(a, b, third, u8::try_from(number % 250).unwrap_or(0) + 1)
}

/// The peer at an address outside.
fn number(address: Ipv4Addr) -> Option<usize> {
    let [a, b, third, fourth] = address.octets();
    ([a, b] == OUTSIDE).then_some(usize::from(third) * 250 + usize::from(fourth.checked_sub(1)?))
}

/// The peers' time, which can be set forward.
struct Clock {
    started: Instant,
    skipped: Duration,
}

impl Clock {
    fn start() -> Self {
        // Not at zero: the engine compares with moments before the first.
        Self { started: Instant::now(), skipped: Duration::from_secs(1000) }
    }

    fn skip(&mut self, time: Duration) {
        self.skipped += time;
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_epoch(self.started.elapsed() + self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_found_by_its_address() {
        for at in [0, 1, 249, 250, 999, LIMIT - 1] {
            assert_eq!(number(address(OUTSIDE, at)), Some(at));
        }
        assert_eq!(number(address(INSIDE, 1)), None);
        assert_eq!(number(Ipv4Addr::new(10, 64, 0, 0)), None);
    }
}
