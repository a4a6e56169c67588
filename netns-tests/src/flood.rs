//! Numbered datagrams from one host to another, paced or as fast as it goes, and how many arrive.
//!
//! Each datagram is one `send` and one `recv`, without segmentation offload, as most programs do that
//! speak UDP. The receiver looks every millisecond instead of being woken, so that what carries the
//! datagrams does not pay for the wake-ups.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;

use crate::host::Host;
use crate::traffic::{udp_socket, unspecified_like};

/// The round and the number, big-endian.
const MARK: usize = 8;
/// How often the receiver looks: far less than its socket's buffer holds.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Without a datagram for so long after the end, no straggler is awaited any more.
const QUIET: Duration = Duration::from_millis(40);
/// The longest wait for stragglers: of a flood, thousands may stand in queues.
const STRAGGLERS: Duration = Duration::from_millis(500);
/// Datagrams between two looks at the clock.
const CLOCK_EVERY: u64 = 32;
/// A paced sender sends what is due in one go, then rests.
const REST: Duration = Duration::from_micros(50);
/// What a paced sender makes up for at most: a longer delay was the machine's, and a burst after it
/// would be the sender's, not the rate's.
const LAG: Duration = Duration::from_millis(1);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Bytes of UDP payload (at least 8, the number).
    pub payload: usize,
    /// Datagrams a second; without, as fast as it goes.
    pub rate: Option<f64>,
    /// For how long.
    pub time: Duration,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// Datagrams sent.
    pub sent: u64,
    /// Of them, those that arrived while it was sent, counted once each.
    pub in_time: u64,
    /// Of them, those that arrived at all.
    pub arrived: u64,
    /// How long it was sent.
    pub elapsed: Duration,
}

#[allow(clippy::cast_precision_loss, reason = "rates for people and wide margins")]
impl Delivery {
    /// Datagrams sent a second.
    #[must_use]
    pub fn offered(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64()
    }

    /// Datagrams delivered a second, while it was sent.
    #[must_use]
    pub fn delivered(&self) -> f64 {
        self.in_time as f64 / self.elapsed.as_secs_f64()
    }

    /// The part that never arrived.
    #[must_use]
    pub fn loss(&self) -> f64 {
        1.0 - self.arrived as f64 / self.sent.max(1) as f64
    }
}

/// Sends a load from one host to an address of another and counts what arrives.
///
/// # Errors
/// When a socket cannot be had or does not send.
pub fn flood(from: &Host, to: &Host, address: SocketAddr, load: Load) -> Result<Delivery> {
    ensure!(load.payload >= MARK, "a payload of {} bytes has no room for a number", load.payload);
    let sink = Sink::open(to, address)?;
    let socket = udp_socket(from, unspecified_like(address))?;
    socket.connect(sink.address())?;
    let round = Round::new();
    sink.count_while(round, || send(&socket, load, round))
}

/// A number for each flood, so that none counts what is left of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round(u32);

impl Round {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        Self(COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes itself and a datagram's number to the front of its payload.
    pub(crate) fn mark(self, number: u32, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.0.to_be_bytes());
        payload[4..MARK].copy_from_slice(&number.to_be_bytes());
    }

    /// The number of a datagram of this round.
    fn number(self, payload: &[u8]) -> Option<u32> {
        let (round, rest) = payload.split_first_chunk()?;
        (u32::from_be_bytes(*round) == self.0)
            .then(|| rest.first_chunk().map(|number| u32::from_be_bytes(*number)))
            .flatten()
    }
}

/// Where numbered datagrams arrive.
pub(crate) struct Sink {
    socket: UdpSocket,
}

impl Sink {
    pub(crate) fn open(host: &Host, address: SocketAddr) -> Result<Self> {
        let socket = udp_socket(host, address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap_or_else(|error| panic!("a bound socket: {error}"))
    }

    /// Counts while `send` runs, which says how many it sent, and then the stragglers.
    pub(crate) fn count_while(
        &self,
        round: Round,
        send: impl FnOnce() -> Result<u64> + Send,
    ) -> Result<Delivery> {
        std::thread::scope(|scope| {
            let started = Instant::now();
            let sender = scope.spawn(move || (send(), Instant::now()));
            let mut seen = Seen::default();
            while !sender.is_finished() {
                self.drain(round, &mut seen)?;
                std::thread::sleep(LOOK_EVERY);
            }
            let in_time = seen.count;
            let (sent, ended) =
                sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let mut last = Instant::now();
            while last.elapsed() < QUIET && ended.elapsed() < STRAGGLERS {
                let before = seen.count;
                self.drain(round, &mut seen)?;
                if seen.count > before {
                    last = Instant::now();
                }
                std::thread::sleep(LOOK_EVERY);
            }
            let elapsed = ended - started;
            Ok(Delivery { sent: sent?, in_time, arrived: seen.count, elapsed })
        })
    }

    fn drain(&self, round: Round, seen: &mut Seen) -> Result<()> {
        let mut head = [0; MARK];
        // A flood may refill it as fast as it is drained: the clock has to be looked at all the same.
        for _ in 0..1 << 14 {
            match self.socket.recv(&mut head) {
                Ok(len) => {
                    if let Some(number) = round.number(&head[..len]) {
                        seen.note(number);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("receiving a flood"),
            }
        }
        Ok(())
    }
}

/// Which numbers have arrived: a duplicate is no second datagram.
#[derive(Default)]
struct Seen {
    bits: Vec<u64>,
    count: u64,
}

impl Seen {
    fn note(&mut self, number: u32) {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if word >= self.bits.len() {
            self.bits.resize((word + 1).next_power_of_two(), 0);
        }
        if self.bits[word] & bit == 0 {
            self.bits[word] |= bit;
            self.count += 1;
        }
    }
}

/// Sends the load; gives the number of datagrams.
fn send(socket: &UdpSocket, load: Load, round: Round) -> Result<u64> {
    let mut payload = vec![0; load.payload];
    let mut pace = load.rate.map(Pace::new).transpose()?;
    let started = Instant::now();
    let mut sent = 0;
    loop {
        let elapsed = started.elapsed();
        if elapsed >= load.time {
            return Ok(sent);
        }
        let due = pace.as_mut().map_or(CLOCK_EVERY, |pace| pace.due(elapsed));
        for _ in 0..due {
            round.mark(u32::try_from(sent)?, &mut payload);
            match socket.send(&payload) {
                Ok(_) => {}
                // A full queue on the way: a datagram lost, and lost ones are what is counted.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {}
                Err(error) => return Err(error).context("sending a flood"),
            }
            sent += 1;
        }
        if pace.is_some() {
            std::thread::sleep(REST);
        }
    }
}

/// How many datagrams are due.
struct Pace {
    rate: f64,
    paid: Duration,
    owed: f64,
}

impl Pace {
    /// At `rate` a second, by naps that are as short as they are asked for.
    fn new(rate: f64) -> Result<Self> {
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        Ok(Self::at(rate))
    }

    fn at(rate: f64) -> Self {
        Self { rate, paid: Duration::ZERO, owed: 0.0 }
    }

    /// What is to be sent now, `elapsed` after the start.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a positive number of datagrams within a millisecond"
    )]
    fn due(&mut self, elapsed: Duration) -> u64 {
        let since = elapsed.saturating_sub(self.paid).min(LAG);
        self.paid = elapsed;
        self.owed += since.as_secs_f64() * self.rate;
        let due = self.owed.floor();
        self.owed -= due;
        due as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_once_and_only_in_its_round() {
        let (round, other) = (Round::new(), Round::new());
        let mut payload = [0; 64];
        let mut seen = Seen::default();
        for number in [0, 7, 7, 1000, 0] {
            round.mark(number, &mut payload);
            assert_eq!(other.number(&payload), None);
            seen.note(round.number(&payload).unwrap());
        }
        assert_eq!(seen.count, 3);
        assert_eq!(round.number(&payload[..7]), None);
    }

    #[test]
    fn a_pace_keeps_its_rate_and_forgives_the_machine_a_long_delay() {
        let mut pace = Pace::at(100_000.0);
        let sent: u64 = (1..=1000).map(|tick| pace.due(Duration::from_micros(tick * 133))).sum();
        assert!((13_299..=13_300).contains(&sent), "{sent}");
        // Half a second later a millisecond's worth is due, not half a second's.
        assert!((100..=101).contains(&pace.due(Duration::from_micros(633_000))));
    }
}
