//! A link that is up: a stream for news, datagrams for packets and beats, and a stream of its own for
//! packets that are too long for a datagram of the path.

use bytes::BytesMut;
use proto::mesh::{MESH_DATA_HEADER_LEN, MeshFrame};
use proto::relay::{Batch, Framing, split_frame};
use quinn::{Connection, SendStream, VarInt};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::greet::Greeted;
use super::{LinkUp, Shared, ToLine, ToMesh};
use crate::core::{Delivery, LinkId, Packet, Queued as _, Transit};
use crate::server::datagrams::{self, Carried, Packets, write_long};
use crate::server::hub::{HubHandle, ToHub};
use crate::server::stream::{framed_into, take, write_all};

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
    let mut packets = Packets::new(connection);
    let mut written = 0;
    loop {
        let over = tokio::select! {
            biased;
            message = given.recv() => match message {
                Some(ToLine::Deliver(delivery)) => {
                    let cost = delivery.cost();
                    match *delivery {
                        Delivery::Packet(transit) => packets.send(transit).is_err(),
                        Delivery::Control(frame) => {
                            written += cost;
                            !tell(&frame, news, &mut packets).await
                        }
                    }
                }
                Some(ToLine::Close) | None => true,
            },
            sent = packets.room() => packets.go_on(sent).is_err(),
        };
        if over {
            return;
        }
        for transit in packets.too_long() {
            // Bounded by what the core hands over before it is written.
            let written = ToHub::Mesh(ToMesh::Written(id, transit.cost()));
            tokio::spawn(write_long(connection.clone(), transit, hub.clone(), written));
        }
        written += packets.written();
        // Said once for all that was there.
        if given.is_empty() && written > 0 {
            if hub.tell(ToHub::Mesh(ToMesh::Written(id, written))).await.is_err() {
                return;
            }
            written = 0;
        }
    }
}

/// Writes what is no packet; false if the link is over.
async fn tell(
    frame: &MeshFrame<'_>,
    news: &mut SendStream,
    packets: &mut Packets<'_, Transit>,
) -> bool {
    let mut bytes = Vec::new();
    if let MeshFrame::Beat(_) | MeshFrame::BeatBack(_) = frame {
        frame.write(&mut bytes);
        packets.ahead(bytes);
        return true;
    }
    framed_into(&mut bytes, |bytes| frame.write(bytes));
    write_all(news, &bytes).await
}

impl Carried for Transit {
    const HEADER: usize = MESH_DATA_HEADER_LEN;

    fn packet(&self) -> &Packet {
        &self.packet
    }

    fn packet_mut(&mut self) -> &mut Packet {
        &mut self.packet
    }

    fn write(&self, batch: Batch<'_>, bytes: &mut Vec<u8>) {
        let Self { network, to, packet: Packet { from, .. } } = *self;
        MeshFrame::Packets { network, from, to, batch }.write(bytes);
    }
}
