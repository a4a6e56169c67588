//! Two clients under one bottleneck: one offers its share, the other ten times as much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use serde::Serialize;
use tokio::time::sleep;

use crate::connection::{Receiver, Sender};
use crate::lanes::Opened;
use crate::streams::{Dialler, Link};
use crate::udp::{End, Pair};
use crate::{Target, Way, udp};

const LEN: usize = 1200;
/// How much more one offers than the other.
const GREED: u64 = 10;
/// Until the bottleneck's first allowance is used up.
const WARM_UP: Duration = Duration::from_secs(2);
const BURST: Duration = Duration::from_millis(2);

/// What part of its half each got through.
#[derive(Serialize)]
pub(crate) struct Shares {
    modest: f64,
    greedy: f64,
}

pub(crate) async fn measure(target: &Target, rate: u64, time: Duration) -> Result<Shares> {
    let half = rate / 2;
    let senders = Senders::start(target, [half, GREED * half]).await?;
    sleep(WARM_UP).await;
    let read = |at: usize| senders.arrived[at].load(Ordering::Relaxed);
    let (start, before) = (Instant::now(), [read(0), read(1)]);
    sleep(time).await;
    let share = |at: usize| {
        #[allow(clippy::cast_precision_loss, reason = "seconds of bytes are exact")]
        let [got, fair] = [(read(at) - before[at]) as f64, half as f64];
        got / start.elapsed().as_secs_f64() / fair
    };
    Ok(Shares { modest: share(0), greedy: share(1) })
}

/// Those who send, until this program ends.
struct Senders {
    /// Bytes of each.
    arrived: Vec<Arc<AtomicU64>>,
    /// Kept, so that what they send by stays whole.
    _links: Vec<(Receiver, Sender)>,
    _lanes: Option<Opened>,
}

impl Senders {
    async fn start(target: &Target, offered: [u64; 2]) -> Result<Self> {
        if target.way == Way::Lane {
            return Self::by_lanes(target, offered).await;
        }
        let dialler = Dialler::new(target)?;
        let (mut arrived, mut links) = (Vec::new(), Vec::new());
        for (number, offered) in offered.into_iter().enumerate() {
            let [(sender, other), (back, receiver)]: [Link; 2] = dialler.pair(number).await?;
            let count = Arc::<AtomicU64>::default();
            tokio::spawn(receive(receiver, count.clone()));
            tokio::spawn(offer(sender, offered));
            arrived.push(count);
            links.push((other, back));
        }
        Ok(Self { arrived, _links: links, _lanes: None })
    }

    async fn by_lanes(target: &Target, offered: [u64; 2]) -> Result<Self> {
        // Of three lanes between three nodes the first and the last begin at two of them.
        let opened = Opened::new(target.relay, 3).await?;
        let mut arrived = Vec::new();
        for (lane, offered) in opened.lanes().step_by(2).zip(offered) {
            let Pair { from, to } = udp::lane(lane)?;
            let count = Arc::<AtomicU64>::default();
            let counted = count.clone();
            std::thread::spawn(move || receive_datagrams(&to, &counted));
            tokio::spawn(offer_datagrams(from, offered));
            arrived.push(count);
        }
        Ok(Self { arrived, _links: Vec::new(), _lanes: Some(opened) })
    }
}

async fn offer_datagrams(from: End, rate: u64) {
    let datagram = from.datagram(&[7; LEN]);
    let mut pace = Pace::new(rate);
    loop {
        while pace.is_due() {
            // What a full buffer refuses is no less offered.
            let _ = from.socket.send(&datagram);
        }
        sleep(BURST).await;
    }
}

/// Silence is no end.
fn receive_datagrams(to: &End, count: &AtomicU64) {
    let (mut bytes, header) = ([0; 2048], to.payload_at());
    loop {
        if let Ok(len) = to.socket.recv(&mut bytes) {
            count.fetch_add(len.saturating_sub(header) as u64, Ordering::Relaxed);
        }
    }
}

/// When the next packet is to be sent.
struct Pace {
    rate: u64,
    start: Instant,
    sent: u128,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, start: Instant::now(), sent: 0 }
    }

    /// Whether one is due; then it counts as sent.
    fn is_due(&mut self) -> bool {
        let due = self.start.elapsed().as_micros() * u128::from(self.rate) / 1_000_000;
        let is_due = self.sent < due;
        self.sent += if is_due { LEN as u128 } else { 0 };
        is_due
    }
}

async fn offer(mut sender: Sender, rate: u64) -> Result<()> {
    let bytes = Bytes::from(vec![7; LEN]);
    let mut pace = Pace::new(rate);
    loop {
        while pace.is_due() {
            sender.send(&bytes, LEN).await?;
        }
        sleep(BURST).await;
    }
}

async fn receive(mut receiver: Receiver, count: Arc<AtomicU64>) -> Result<()> {
    loop {
        let packets = receiver.receive().await?;
        count.fetch_add(packets.bytes.len() as u64, Ordering::Relaxed);
    }
}
