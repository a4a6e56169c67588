//! Datagrams of a QUIC connection, both ways: those that have come together are taken together, and
//! what leaves waits for nothing but room.

mod cut;
mod packets;

use bytes::Bytes;
use futures_util::FutureExt as _;
use proto::relay::Batch;
use quinn::Connection;

use super::stream::framed_into;

pub(super) use cut::{Carried, Cut, Outlet, Over, Unsent};
pub(super) use packets::{Packets, write_long};

/// The hub is told of so many at most at once.
const TOGETHER: usize = 64;

/// What comes next, and what is there with it; nothing if the connection is over.
///
/// Each is in memory of its own: as quinn gives it, it holds all that came in the same receive, up to
/// 64 KiB, and it may wait for long.
pub(super) async fn receive(connection: &Connection) -> Vec<Bytes> {
    let mut datagrams = Vec::new();
    if let Ok(first) = connection.read_datagram().await {
        datagrams.push(Bytes::copy_from_slice(&first));
        while datagrams.len() < TOGETHER
            && let Some(Ok(next)) = connection.read_datagram().now_or_never()
        {
            datagrams.push(Bytes::copy_from_slice(&next));
        }
    }
    datagrams
}

/// Packets that are too long for datagrams, as what a stream of their own carries.
pub(super) fn long_frame<P: Carried>(packets: &P) -> Vec<u8> {
    let mut bytes = Vec::new();
    framed_into(&mut bytes, |bytes| {
        let packet = packets.packet();
        if let Some(batch) = Batch::new(&packet.payload, packet.segment.into()) {
            packets.write(batch, bytes);
        }
    });
    bytes
}
