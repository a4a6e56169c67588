//! Clients and lanes that do nothing: what they cost the relay in memory.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::connection::Packets;
use crate::iroh::Client;
use crate::lanes::Opened;
use crate::nearwire::Nodes;
use crate::turn::Allocation;
use crate::udp::socket;
use crate::{Target, Way, usage};

/// Clients that connect at one time.
const TOGETHER: usize = 16;
/// After the last has connected, until memory is read: what belongs to a handshake is given back.
const SETTLED: Duration = Duration::from_secs(2);

/// Resident memory, in bytes.
#[derive(Serialize)]
pub(crate) struct Memory {
    count: usize,
    before: u64,
    after: u64,
}

pub(crate) async fn clients(target: &Target, count: usize) -> Result<Memory> {
    match target.way {
        Way::Quic => nodes(target, Nodes::by_quic(target.relay)?, count).await,
        Way::Tls | Way::Lane => nodes(target, Nodes::by_tls(target.relay)?, count).await,
        Way::Iroh | Way::IrohTls => iroh(target, count).await,
        Way::Turn => turn(target, count),
        other => bail!("{other:?} has no clients"),
    }
}

async fn nodes(target: &Target, nodes: Nodes, count: usize) -> Result<Memory> {
    let before = usage::memory(&target.of)?;
    let mut kept = Vec::new();
    while kept.len() < count {
        let together = (kept.len()..count).take(TOGETHER).map(|number| nodes.connect(number));
        let connected = futures_util::future::try_join_all(together).await;
        kept.extend(connected.with_context(|| format!("after {} clients", kept.len()))?);
    }
    settled(target, before, count).await
}

async fn iroh(target: &Target, count: usize) -> Result<Memory> {
    let before = usage::memory(&target.of)?;
    let tls = target.way == Way::IrohTls;
    let mut idle: JoinSet<Result<Packets>> = JoinSet::new();
    while idle.len() < count {
        let numbers = (idle.len()..count).take(TOGETHER);
        let together = numbers.map(|number| Client::connect(target.relay, tls, number));
        let connected = futures_util::future::try_join_all(together).await;
        for client in connected.with_context(|| format!("after {} clients", idle.len()))? {
            let id = client.id;
            let (_, mut receiver) = client.link(id);
            idle.spawn(async move { receiver.receive().await });
        }
        if let Some(ended) = idle.try_join_next() {
            ended??;
            bail!("iroh-relay ended a connection");
        }
    }
    settled(target, before, count).await
}

fn turn(target: &Target, count: usize) -> Result<Memory> {
    let before = usage::memory(&target.of)?;
    let mut kept = Vec::new();
    for _ in 0..count {
        let socket = socket(target.relay)?;
        kept.push((Allocation::new(&socket)?, socket));
    }
    std::thread::sleep(SETTLED);
    Ok(Memory { count, before, after: usage::memory(&target.of)? })
}

/// Lanes of which both ends are bound.
pub(crate) async fn lanes(target: &Target, count: usize) -> Result<Memory> {
    // Who opens them is counted with the clients.
    let mut opened = Opened::connect(target.relay, count).await?;
    sleep(SETTLED).await;
    let before = usage::memory(&target.of)?;
    opened.open().await?;
    let ends = opened.bind_all()?;
    if ends != 2 * opened.count() {
        bail!("{ends} ends are bound, of {} lanes", opened.count());
    }
    settled(target, before, opened.count()).await
}

async fn settled(target: &Target, before: u64, count: usize) -> Result<Memory> {
    sleep(SETTLED).await;
    Ok(Memory { count, before, after: usage::memory(&target.of)? })
}
