//! A link that is up: a stream for news, datagrams for packets and beats, and a stream of its own for
//! packets that are too long for a datagram of the path.

use bytes::{Bytes, BytesMut};
use proto::mesh::{MESH_DATA_HEADER_LEN, MeshFrame};
use proto::relay::{Batch, Framing, finish_frame, split_frame, start_frame};
use quinn::{Connection, SendDatagramError, SendStream, VarInt};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::greet::Greeted;
use super::{LinkUp, Shared, ToLine, ToMesh};
use crate::core::{Delivery, LinkId, ToLink, Transit};
use crate::server::datagrams;
use crate::server::hub::{HubHandle, ToHub};
use crate::server::stream::{take, write_all};

/// What one read of a stream may bring.
const READ: usize = 64 << 10;

/// Carries what the hub gives and what the other relay sends, until one of them ends it.
pub(super) async fn serve(shared: &Shared, greeted: Greeted) {
    let Greeted { relay, connection, mut writer, mut reader, rest } = greeted;
    let hub = &shared.hub;
    let (line, mut given) = mpsc::unbounded_channel();
    let (reply, up) = oneshot::channel();
    let link_up = ToMesh::Up(Box::new(LinkUp { relay, line, reply }));
    if hub.tell(ToHub::Mesh(link_up)).await.is_err() {
        return;
    }
    let Ok(Some(id)) = up.await else { return };
    let address = connection.remote_address();
    tracing::info!(%relay, %address, "a link to another relay is up");
    tokio::select! {
        () = read_frames(&mut reader, rest, id, hub) => {}
        () = read_long(&connection, id, hub) => {}
        () = read_datagrams(&connection, id, hub) => {}
        () = write_deliveries(&connection, &mut writer, &mut given, id, hub) => {}
    }
    tracing::info!(%relay, %address, "a link to another relay has ended");
    // The hub may have ended before us.
    let _ = hub.tell(ToHub::Mesh(ToMesh::Down(id))).await;
    connection.close(VarInt::from_u32(0), b"");
}

/// Hands whole frames to the hub until the stream ends.
async fn read_frames(
    reader: &mut (impl AsyncRead + Unpin),
    mut held: BytesMut,
    id: LinkId,
    hub: &HubHandle,
) {
    loop {
        let mut whole = 0;
        loop {
            match split_frame(&held[whole..], Framing::Mesh) {
                Ok(Some((_, taken))) => whole += taken,
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if whole > 0 {
            let frames = take(&mut held, whole);
            if hub.tell(ToHub::Mesh(ToMesh::Frames(id, frames))).await.is_err() {
                return;
            }
        }
        held.reserve(READ);
        if !matches!(reader.read_buf(&mut held).await, Ok(1..)) {
            return;
        }
    }
}

/// Packets that were too long for datagrams: each stream is read beside the others, so one that lost
/// something holds up none.
async fn read_long(connection: &Connection, id: LinkId, hub: &HubHandle) {
    let mut streams = JoinSet::new();
    while let Ok(mut stream) = connection.accept_uni().await {
        while streams.try_join_next().is_some() {}
        let hub = hub.clone();
        streams.spawn(async move { read_frames(&mut stream, BytesMut::new(), id, &hub).await });
    }
}

async fn read_datagrams(connection: &Connection, id: LinkId, hub: &HubHandle) {
    loop {
        let datagrams = datagrams::receive(connection).await;
        if datagrams.is_empty()
            || hub.tell(ToHub::Mesh(ToMesh::Datagrams(id, datagrams))).await.is_err()
        {
            return;
        }
    }
}

async fn write_deliveries(
    connection: &Connection,
    news: &mut SendStream,
    given: &mut mpsc::UnboundedReceiver<ToLine>,
    id: LinkId,
    hub: &HubHandle,
) {
    let mut written = 0;
    let mut long = JoinSet::new();
    while let Some(ToLine::Deliver(delivery)) = given.recv().await {
        let cost = delivery.cost();
        match *delivery {
            Delivery::Control(frame @ (MeshFrame::Beat(_) | MeshFrame::BeatBack(_))) => {
                let mut bytes = Vec::new();
                frame.write(&mut bytes);
                // One that is lost is missed like any other; a connection that is gone is read so too.
                let _ = connection.send_datagram(bytes.into());
                written += cost;
            }
            Delivery::Control(frame) => {
                if !write_all(news, &framed(&frame)).await {
                    return;
                }
                written += cost;
            }
            Delivery::Packet(transit) => match send(connection, &transit).await {
                Sent::All => written += cost,
                // Bounded by what the core hands over before it is written.
                Sent::TooLong => {
                    while long.try_join_next().is_some() {}
                    long.spawn(write_long(connection.clone(), transit, id, hub.clone()));
                }
                Sent::Over => return,
            },
        }
        // Said once for all that was there.
        if given.is_empty() && written > 0 {
            if hub.tell(ToHub::Mesh(ToMesh::Written(id, written))).await.is_err() {
                return;
            }
            written = 0;
        }
    }
}

/// What became of packets.
enum Sent {
    All,
    TooLong,
    Over,
}

/// Sends packets as datagrams, as many in each as fit.
async fn send(connection: &Connection, transit: &Transit) -> Sent {
    let limit = connection.max_datagram_size().unwrap_or(0).saturating_sub(MESH_DATA_HEADER_LEN);
    let batch = Batch::new(&transit.packet.payload, transit.packet.segment.into());
    let Some(batches) = batch.and_then(|batch| batch.within(limit)) else {
        return Sent::TooLong;
    };
    for batch in batches {
        let mut bytes = Vec::with_capacity(MESH_DATA_HEADER_LEN + batch.bytes().len());
        packets(transit, batch).write(&mut bytes);
        match connection.send_datagram_wait(Bytes::from(bytes)).await {
            // The path has just become narrower: what is lost of one batch is a loss like others.
            Ok(()) | Err(SendDatagramError::TooLarge) => {}
            Err(SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled) => {
                return Sent::TooLong;
            }
            Err(SendDatagramError::ConnectionLost(_)) => return Sent::Over,
        }
    }
    Sent::All
}

async fn write_long(connection: Connection, transit: Transit, id: LinkId, hub: HubHandle) {
    let cost = ToLink::Packet(transit.clone()).cost();
    if let Some(batch) = Batch::new(&transit.packet.payload, transit.packet.segment.into())
        && let Ok(mut stream) = connection.open_uni().await
        && write_all(&mut stream, &framed(&packets(&transit, batch))).await
    {
        // Ends at once: what is written is still delivered.
        let _ = stream.finish();
    }
    // A hub that has ended counts no more.
    let _ = hub.tell(ToHub::Mesh(ToMesh::Written(id, cost))).await;
}

const fn packets<'a>(transit: &Transit, batch: Batch<'a>) -> MeshFrame<'a> {
    MeshFrame::Packets {
        network: transit.network,
        from: transit.packet.from,
        to: transit.to,
        batch,
    }
}

fn framed(frame: &MeshFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = start_frame(&mut bytes);
    frame.write(&mut bytes);
    finish_frame(&mut bytes, start);
    bytes
}
