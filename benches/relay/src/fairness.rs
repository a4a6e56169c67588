//! Two clients under one bottleneck: one offers its share, the other ten times as much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use serde::Serialize;
use tokio::time::sleep;

use crate::Target;
use crate::connection::{Receiver, Sender};
use crate::streams::Dialler;

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
    let dialler = Dialler::new(target)?;
    let half = rate / 2;
    let mut counts = Vec::new();
    let mut kept = Vec::new();
    for (number, offered) in [half, GREED * half].into_iter().enumerate() {
        let [(sender, other), (back, receiver)] = dialler.pair(number).await?;
        let count = Arc::new(AtomicU64::new(0));
        tokio::spawn(receive(receiver, count.clone()));
        tokio::spawn(offer(sender, offered));
        counts.push(count);
        kept.push((other, back));
    }
    sleep(WARM_UP).await;
    let read = |at: usize| counts[at].load(Ordering::Relaxed);
    let (start, before) = (Instant::now(), [read(0), read(1)]);
    sleep(time).await;
    let share = |at: usize| {
        #[allow(clippy::cast_precision_loss, reason = "seconds of bytes are exact")]
        let [got, fair] = [(read(at) - before[at]) as f64, half as f64];
        got / start.elapsed().as_secs_f64() / fair
    };
    Ok(Shares { modest: share(0), greedy: share(1) })
}

async fn offer(mut sender: Sender, rate: u64) -> Result<()> {
    let bytes = Bytes::from(vec![7; LEN]);
    let start = Instant::now();
    let mut sent: u128 = 0;
    loop {
        while sent < start.elapsed().as_micros() * u128::from(rate) / 1_000_000 {
            sender.send(&bytes, LEN).await?;
            sent += LEN as u128;
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
