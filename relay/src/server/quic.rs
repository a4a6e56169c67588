//! QUIC: a stream for control, datagrams for packets, and further streams for packets that are too
//! long for a datagram of the path, each on one of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::BytesMut;
use futures_util::FutureExt as _;
use proto::relay::{Batch, DATA_HEADER_LEN, EXPORTER_LABEL, RelayFrame};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendDatagramError, SendStream,
    ServerConfig, TransportConfig, VarInt,
};
use tokio::time::timeout;

use super::admission::{Binding, Client, Door};
use super::hub_handle::{HubHandle, ToConnection, ToHub};
use super::line::LineReceiver;
use super::quic_runtime::QuicRuntime;
use super::stream::{frame_into, read_frames, write_all};
use super::tls::Identity;
use crate::core::{ClientId, Delivery, Packet, UNSAID, Way};

/// Socket buffers of QUIC, in bytes: all clients share them.
const SOCKET_BUFFER: usize = 7 << 20;
/// What one client may have on its way to us in streams, and in datagrams.
const WINDOW: u32 = 256 << 10;
/// QUIC finds a dead path by itself after this.
const SILENCE: Duration = Duration::from_secs(60);
/// Datagrams of a client that the hub is told of together.
const TOGETHER: usize = 64;
/// Room for deliveries that a silent client keeps.
const KEPT: usize = 4;

/// Opens the endpoint.
pub(super) fn endpoint(address: SocketAddr, identity: &Identity) -> Result<Endpoint> {
    let crypto =
        QuicServerConfig::try_from(identity.quic_config()?).context("preparing TLS for QUIC")?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport()?));
    let socket =
        socket(address).with_context(|| format!("listening on {address} for QUIC (`quic`)"))?;
    let runtime = Arc::new(QuicRuntime);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime).context("starting QUIC")
}

fn transport() -> Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(2 * WINDOW))
        .send_window(WINDOW.into())
        .datagram_receive_buffer_size(Some(WINDOW as usize))
        .datagram_send_buffer_size(WINDOW as usize)
        .max_idle_timeout(Some(SILENCE.try_into().context("the idle time of QUIC")?));
    Ok(transport)
}

fn socket(address: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Takes connections until the endpoint is closed.
pub(super) async fn serve(endpoint: Endpoint, door: Arc<Door>) {
    while let Some(incoming) = endpoint.accept().await {
        if door.is_busy() && incoming.may_retry() {
            // Made-up sources would take the places of true ones. The answer is no longer than the
            // question, and nothing is kept.
            let _ = incoming.retry();
            continue;
        }
        let Some(place) = door.enter(incoming.remote_address().ip()) else {
            // Not even a refusal: nobody knows yet whether the source is true.
            incoming.ignore();
            continue;
        };
        let door = door.clone();
        tokio::spawn(async move {
            let admitted = timeout(door.time, admitted(incoming, &door)).await;
            drop(place);
            match admitted {
                // A task of its own: what admission needed is given back.
                Ok(Some(client)) => drop(tokio::spawn(serve_client(client, door))),
                Ok(None) => {}
                Err(_) => door.failed(),
            }
        });
    }
}

struct QuicClient {
    client: Client,
    connection: Connection,
    control: (SendStream, RecvStream),
}

async fn admitted(incoming: Incoming, door: &Door) -> Option<QuicClient> {
    let started = async {
        let connection = incoming.await.ok()?;
        let (writer, reader) = connection.accept_bi().await.ok()?;
        let mut exporter = [0; 32];
        connection.export_keying_material(&mut exporter, EXPORTER_LABEL, &[]).ok()?;
        Some((connection, writer, reader, exporter))
    };
    let Some((connection, mut writer, mut reader, exporter)) = started.await else {
        door.failed();
        return None;
    };
    let Some(client) = door.admit(&mut reader, &mut writer, exporter, Way::Quic).await else {
        // The refusal is to arrive before the end.
        let _ = writer.finish();
        let _ = timeout(Duration::from_secs(1), writer.stopped()).await;
        return None;
    };
    Some(QuicClient { client, connection, control: (writer, reader) })
}

/// What it is given stays where it is: a copy would be kept twice as long as the client is there.
async fn serve_client(mut this: QuicClient, door: Arc<Door>) {
    let QuicClient { client, connection, control } = &mut this;
    let (connection, (writer, reader)) = (&*connection, control);
    let Client { id, binding, line, rest } = client;
    let (id, rest) = (*id, std::mem::take(rest));
    tokio::select! {
        () = read_frames(reader, rest, id, binding, &door) => {}
        () = read_long(connection, id, binding, &door) => {}
        () = read_datagrams(connection, id, &door) => {}
        () = write_deliveries(connection, writer, line, id, &door) => {}
    }
    let end = async {
        // The hub may have ended before us.
        let _ = door.hub.tell(ToHub::Left(id)).await;
        let _ = writer.finish();
        let _ = timeout(Duration::from_secs(1), writer.stopped()).await;
        connection.close(VarInt::from_u32(0), b"");
    };
    Box::pin(end).await;
}

async fn read_datagrams(connection: &Connection, id: ClientId, door: &Door) {
    while let Ok(first) = connection.read_datagram().await {
        let mut datagrams = vec![first];
        // What has come meanwhile goes with it: the hub is told once.
        while datagrams.len() < TOGETHER
            && let Some(Ok(next)) = connection.read_datagram().now_or_never()
        {
            datagrams.push(next);
        }
        if door.hub.tell(ToHub::Datagrams(id, datagrams)).await.is_err() {
            return;
        }
    }
}

/// Packets that were too long for the client's datagrams.
async fn read_long(connection: &Connection, id: ClientId, binding: &Binding, door: &Door) {
    while let Ok(mut stream) = connection.accept_uni().await {
        // Rare, so that a silent client keeps no room for it.
        Box::pin(read_frames(&mut stream, BytesMut::new(), id, binding, door)).await;
    }
}

/// Writes packets that are too long for datagrams to a stream of their own, which waits for nobody.
async fn write_long(connection: Connection, delivery: Delivery, id: ClientId, hub: HubHandle) {
    let mut bytes = Vec::new();
    frame_into(&delivery, &mut bytes);
    if let Ok(mut stream) = connection.open_uni().await
        && write_all(&mut stream, &bytes).await
    {
        // Ends at once: what is written is still delivered.
        let _ = stream.finish();
    }
    // A hub that has ended counts no more.
    let _ = hub.tell(ToHub::Written(id, delivery.cost())).await;
}

async fn write_deliveries(
    connection: &Connection,
    control: &mut SendStream,
    line: &mut LineReceiver,
    id: ClientId,
    door: &Door,
) {
    let mut given = Vec::new();
    let mut written = 0;
    while line.receive(&mut given, TOGETHER).await > 0 {
        for message in given.drain(..) {
            let ToConnection::Deliver(delivery) = message else { return };
            let cost = delivery.cost();
            match &*delivery {
                Delivery::Control(_) => {
                    let mut bytes = Vec::new();
                    frame_into(&delivery, &mut bytes);
                    // Boxed as above.
                    if !Box::pin(write_all(control, &bytes)).await {
                        return;
                    }
                    written += cost;
                }
                Delivery::Packet(packet) => match send(connection, packet).await {
                    Sent::All => written += cost,
                    // Bounded by what the core hands over before it is written.
                    Sent::TooLong => {
                        let hub = door.hub.clone();
                        tokio::spawn(write_long(connection.clone(), *delivery, id, hub));
                    }
                    Sent::Over => return,
                },
            }
            if written >= UNSAID {
                if door.hub.tell(ToHub::Written(id, written)).await.is_err() {
                    return;
                }
                written = 0;
            }
        }
        given.shrink_to(KEPT);
    }
}

/// What became of packets.
enum Sent {
    All,
    TooLong,
    Over,
}

/// Sends packets as datagrams, as many in each as fit.
async fn send(connection: &Connection, packet: &Packet) -> Sent {
    let limit = connection.max_datagram_size().unwrap_or(0).saturating_sub(DATA_HEADER_LEN);
    let batch = Batch::new(&packet.payload, packet.segment.into());
    let Some(batches) = batch.and_then(|batch| batch.within(limit)) else {
        return Sent::TooLong;
    };
    for batch in batches {
        let mut bytes = Vec::with_capacity(DATA_HEADER_LEN + batch.bytes().len());
        RelayFrame::Received(packet.from, batch).write(&mut bytes);
        let sent = if bytes.len() <= connection.datagram_send_buffer_space() {
            connection.send_datagram(bytes.into())
        } else {
            // Boxed as above.
            Box::pin(connection.send_datagram_wait(bytes.into())).await
        };
        match sent {
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
