//! Packets by connections: QUIC, TLS, and iroh's. As many are on their way as fit a window.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connection::{Receiver, Sender};
use crate::iroh::Client;
use crate::nearwire::Nodes;
use crate::{Carried, Load, Target, Way, usage};

/// Pairs that connect at one time.
const TOGETHER: usize = 8;
/// Before a load is measured.
const WARM_UP: Duration = Duration::from_millis(200);
/// What has not come by then is lost.
const LOST: Duration = Duration::from_secs(1);

/// Both ends, each for packets to the other.
pub(crate) type Link = (Sender, Receiver);

/// Connects two clients; `number` is another for each pair.
pub(crate) struct Dialler {
    target: Way,
    relay: std::net::SocketAddr,
    nodes: Nodes,
}

impl Dialler {
    pub(crate) fn new(target: &Target) -> Result<Self> {
        let nodes = match target.way {
            Way::Quic => Nodes::by_quic(target.relay)?,
            _ => Nodes::by_tls(target.relay)?,
        };
        Ok(Self { target: target.way, relay: target.relay, nodes })
    }

    pub(crate) async fn pair(&self, number: usize) -> Result<[Link; 2]> {
        let numbers = [2 * number, 2 * number + 1];
        match self.target {
            Way::Quic | Way::Tls => {
                let [a, b] = numbers.map(|number| self.nodes.connect(number));
                let (a, b) = tokio::try_join!(a, b)?;
                let keys = [a.key, b.key];
                Ok([a.link(keys[1]), b.link(keys[0])])
            }
            Way::Iroh | Way::IrohTls => {
                let tls = self.target == Way::IrohTls;
                let [a, b] = numbers.map(|number| Client::connect(self.relay, tls, number));
                let (a, b) = tokio::try_join!(a, b)?;
                let ids = [a.id, b.id];
                Ok([a.link(ids[1]), b.link(ids[0])])
            }
            other => bail!("{other:?} has no connections"),
        }
    }
}

/// Pairs of which the first sends and the second receives.
pub(crate) struct Streams {
    senders: Vec<(Sender, Arc<Flow>)>,
    receiving: JoinSet<Result<()>>,
    /// Kept, so that the connections stay whole.
    _backward: Vec<Sender>,
}

/// What is on its way between two clients.
#[derive(Default)]
struct Flow {
    received: AtomicU64,
    some: Notify,
}

impl Streams {
    pub(crate) async fn connect(target: &Target, count: usize) -> Result<Self> {
        let dialler = Dialler::new(target)?;
        let mut streams =
            Self { senders: Vec::new(), receiving: JoinSet::new(), _backward: Vec::new() };
        while streams.senders.len() < count {
            let first = streams.senders.len();
            let together = (first..count).take(TOGETHER).map(|number| dialler.pair(number));
            let pairs = try_join_all(together).await;
            for pair in pairs.with_context(|| format!("after {first} pairs"))? {
                let [(sender, other), (backward, receiver)] = pair;
                let flow = Arc::new(Flow::default());
                streams.receiving.spawn(receive(receiver, flow.clone()));
                // Nothing is sent to it, but the relay may ask whether it is there.
                streams.receiving.spawn(receive(other, Arc::default()));
                streams.senders.push((sender, flow));
                streams._backward.push(backward);
            }
        }
        Ok(streams)
    }

    /// Loads the relay for a time.
    pub(crate) async fn carry(
        &mut self,
        load: Load,
        time: Duration,
        of: &[u32],
    ) -> Result<Carried> {
        let bytes = Bytes::from(vec![7; load.size * load.segments]);
        let (over, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut sending = JoinSet::new();
        let rest = self.senders.split_off(load.pairs.min(self.senders.len()));
        let flows: Vec<_> = self.senders.iter().map(|(_, flow)| flow.clone()).collect();
        for (sender, flow) in self.senders.drain(..) {
            let (bytes, over, lost) = (bytes.clone(), over.clone(), lost.clone());
            sending.spawn(async move {
                let mut work = Work { sender, flow, load, bytes };
                work.run(&over, &lost).await?;
                anyhow::Ok((work.sender, work.flow))
            });
        }
        let received = || flows.iter().map(|flow| flow.received.load(Ordering::Relaxed)).sum();
        sleep(WARM_UP).await;
        let before: u64 = received();
        let lost_before = lost.load(Ordering::Relaxed);
        let (start, cpu) = (Instant::now(), usage::cpu_seconds(of)?);
        sleep(time).await;
        let cpu_seconds = usage::cpu_seconds(of)? - cpu;
        let (packets, seconds) = (received() - before, start.elapsed().as_secs_f64());
        let lost = lost.load(Ordering::Relaxed) - lost_before;
        over.store(true, Ordering::Relaxed);
        while let Some(sender) = sending.join_next().await {
            self.senders.push(sender??);
        }
        self.senders.extend(rest);
        if let Some(ended) = self.receiving.try_join_next() {
            ended??;
        }
        Ok(Carried { load, packets, seconds, cpu_seconds, lost })
    }
}

async fn receive(mut receiver: Receiver, flow: Arc<Flow>) -> Result<()> {
    loop {
        let packets = receiver.receive().await?;
        flow.received.fetch_add(packets.count() as u64, Ordering::Relaxed);
        flow.some.notify_one();
    }
}

struct Work {
    sender: Sender,
    flow: Arc<Flow>,
    load: Load,
    bytes: Bytes,
}

impl Work {
    async fn run(&mut self, over: &AtomicBool, lost: &AtomicU64) -> Result<()> {
        let window = self.load.window() as u64;
        // What came of an earlier load counts as sent before this one.
        let mut sent = self.flow.received.load(Ordering::Relaxed);
        while !over.load(Ordering::Relaxed) {
            let received = self.flow.received.load(Ordering::Relaxed);
            sent = sent.max(received);
            if sent - received + self.load.segments as u64 <= window {
                self.sender.send(&self.bytes, self.load.size).await?;
                sent += self.load.segments as u64;
            } else if timeout(LOST, self.flow.some.notified()).await.is_err() {
                lost.fetch_add(sent - received, Ordering::Relaxed);
                sent = received;
            }
        }
        Ok(())
    }
}
