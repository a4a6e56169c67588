//! Round trips: a question to the other client, and its answer, both through the relay.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::connection::{Receiver, Sender};
use crate::streams::{Dialler, Link};
use crate::udp::{self, End, Pair};
use crate::{Target, Way};

/// Bytes of a question.
const LEN: usize = 100;
/// Bytes of a packet that goes beside.
const BESIDE_LEN: usize = 1400;
/// The same in a datagram of QUIC, which has less room.
const BESIDE_QUIC: usize = 1300;
/// From one question to the next, when others go beside.
const EVERY: Duration = Duration::from_millis(1);
/// Others go in bursts this far apart.
const BURST: Duration = Duration::from_millis(1);
/// After so long there is no answer any more.
const PATIENCE: Duration = Duration::from_millis(200);

/// No trip is longer, in nanoseconds.
const LONGEST: u64 = 10_000_000_000;

/// Round trips in microseconds.
#[derive(Serialize)]
pub(crate) struct Trips {
    p50: f64,
    p99: f64,
    answered: u64,
    unanswered: u64,
}

/// What is found one by one.
struct Asked {
    trips: Histogram<u64>,
    unanswered: u64,
}

impl Asked {
    fn new() -> Result<Self> {
        Ok(Self { trips: Histogram::new_with_bounds(1, LONGEST, 3)?, unanswered: 0 })
    }

    fn add(&mut self, trip: Option<Duration>) {
        let nanoseconds = trip.map(|trip| u64::try_from(trip.as_nanos()).unwrap_or(u64::MAX));
        match nanoseconds {
            Some(nanoseconds) => self.trips.saturating_record(nanoseconds),
            None => self.unanswered += 1,
        }
    }

    fn trips(&self) -> Result<Trips> {
        ensure!(!self.trips.is_empty(), "no question was answered");
        #[allow(clippy::cast_precision_loss, reason = "milliseconds of nanoseconds are exact")]
        let at = |quantile| self.trips.value_at_quantile(quantile) as f64 / 1e3;
        let (p50, p99) = (at(0.5), at(0.99));
        Ok(Trips { p50, p99, answered: self.trips.len(), unanswered: self.unanswered })
    }
}

pub(crate) async fn measure(target: &Target, count: u32, beside: u32) -> Result<Trips> {
    if let Some(pairs) = udp::pairs(target, 2).await? {
        let [pair, other] = &pairs.pairs[..] else { anyhow::bail!("two pairs were wanted") };
        return by_datagrams(pair, other, count, beside);
    }
    let dialler = Dialler::new(target)?;
    let [pair, other] = [dialler.pair(0).await?, dialler.pair(1).await?];
    let len = if target.way == Way::Quic { BESIDE_QUIC } else { BESIDE_LEN };
    by_streams(pair, other, count, beside, len).await
}

fn by_datagrams(pair: &Pair, other: &Pair, count: u32, beside: u32) -> Result<Trips> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| echo(&pair.to, &over));
        let load = scope.spawn(|| flow(other, beside, &over));
        let drain = scope.spawn(|| drain(other, &over));
        let asked = ask(&pair.from, count, beside > 0);
        over.store(true, Ordering::Relaxed);
        for thread in [echo, load, drain] {
            thread.join().map_err(|_| anyhow::anyhow!("a thread has failed"))??;
        }
        asked?.trips()
    })
}

fn ask(end: &End, count: u32, paced: bool) -> Result<Asked> {
    let mut asked = Asked::new()?;
    let mut bytes = [0; 2048];
    blocking(&end.socket)?;
    let mut due = Instant::now();
    for number in 0..count {
        if paced {
            due += EVERY;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        } else {
            due = Instant::now();
        }
        end.socket.send(&end.datagram(&question(number)))?;
        let trip = loop {
            match end.socket.recv(&mut bytes) {
                Ok(len) if is_answer(&bytes[..len], end, number) => break Some(due.elapsed()),
                // The answer to an earlier question, or a word of the relay's.
                Ok(_) if due.elapsed() < PATIENCE => {}
                Ok(_) => break None,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break None,
                Err(error) => return Err(error).context("awaiting an answer"),
            }
        };
        asked.add(trip);
    }
    Ok(asked)
}

fn is_answer(bytes: &[u8], end: &End, number: u32) -> bool {
    let at = end.payload_at();
    bytes.get(at..at + 4) == Some(&number.to_be_bytes())
}

fn question(number: u32) -> [u8; LEN] {
    let mut question = [0; LEN];
    question[..4].copy_from_slice(&number.to_be_bytes());
    question
}

fn echo(end: &End, over: &AtomicBool) -> Result<()> {
    let mut bytes = [0; 2048];
    blocking(&end.socket)?;
    while !over.load(Ordering::Relaxed) {
        match end.socket.recv(&mut bytes) {
            Ok(len) if len >= end.payload_at() => {
                end.socket.send(&end.datagram(&bytes[end.payload_at()..len]))?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("answering"),
        }
    }
    Ok(())
}

fn drain(pair: &Pair, over: &AtomicBool) -> Result<()> {
    let end = &pair.to;
    let mut bytes = [0; 2048];
    blocking(&end.socket)?;
    while !over.load(Ordering::Relaxed) {
        // What comes is not looked at, and silence is no failure.
        let _ = end.socket.recv(&mut bytes);
    }
    Ok(())
}

fn flow(pair: &Pair, rate: u32, over: &AtomicBool) -> Result<()> {
    let datagram = pair.from.datagram(&[7; BESIDE_LEN]);
    let start = Instant::now();
    let mut sent = 0;
    while rate > 0 && !over.load(Ordering::Relaxed) {
        while sent < due(start, rate) {
            // A buffer that is full has its reason in the load.
            let _ = pair.from.socket.send(&datagram);
            sent += 1;
        }
        std::thread::sleep(BURST);
    }
    Ok(())
}

fn due(start: Instant, rate: u32) -> u128 {
    start.elapsed().as_micros() * u128::from(rate) / 1_000_000
}

fn blocking(socket: &UdpSocket) -> Result<()> {
    socket.set_nonblocking(false)?;
    Ok(socket.set_read_timeout(Some(PATIENCE))?)
}

async fn by_streams(
    pair: [Link; 2],
    other: [Link; 2],
    count: u32,
    beside: u32,
    beside_len: usize,
) -> Result<Trips> {
    let [(mut sender, mut receiver), (back, far)] = pair;
    let [(load, _kept), (_kept_too, drained)] = other;
    let echo = tokio::spawn(echo_stream(far, back));
    let drain = tokio::spawn(drain_stream(drained));
    let over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(flow_stream(load, beside, beside_len, over.clone()));
    let mut asked = Asked::new()?;
    let mut pace = tokio::time::interval(EVERY);
    for number in 0..count {
        let mut due = Instant::now();
        if beside > 0 {
            due = pace.tick().await.into_std();
        }
        sender.send(&Bytes::copy_from_slice(&question(number)), LEN).await?;
        let answer = async {
            loop {
                let packets = receiver.receive().await?;
                if packets.bytes.starts_with(&number.to_be_bytes()) {
                    return anyhow::Ok(());
                }
            }
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answered) => {
                answered?;
                asked.add(Some(due.elapsed()));
            }
            Err(_) => asked.add(None),
        }
    }
    over.store(true, Ordering::Relaxed);
    load.await??;
    echo.abort();
    drain.abort();
    asked.trips()
}

async fn echo_stream(mut far: Receiver, mut back: Sender) -> Result<()> {
    loop {
        let packets = far.receive().await?;
        let len = packets.bytes.len();
        back.send(&packets.bytes, len).await?;
    }
}

async fn drain_stream(mut receiver: Receiver) -> Result<()> {
    loop {
        receiver.receive().await?;
    }
}

async fn flow_stream(
    mut sender: Sender,
    rate: u32,
    len: usize,
    over: Arc<AtomicBool>,
) -> Result<()> {
    let bytes = Bytes::from(vec![7; len]);
    let start = Instant::now();
    let mut sent = 0;
    while rate > 0 && !over.load(Ordering::Relaxed) {
        while sent < due(start, rate) {
            sender.send(&bytes, len).await?;
            sent += 1;
        }
        tokio::time::sleep(BURST).await;
    }
    Ok(())
}
