//! QUIC: a stream for control, datagrams for packets, and further streams for packets that are too
//! long for a datagram of the path, each on one of its own.

mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use proto::relay::{EXPORTER_LABEL, Framing, MAX_FRAME, Refusal, split_frame};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, ReadToEndError, RecvStream, SendStream,
    ServerConfig, TransportConfig, VarInt,
};
use tokio::time::timeout;

use super::admission::{Client, Door};
use super::datagrams;
use super::hub::{HubHandle, ToHub};
use super::quic_runtime::QuicRuntime;
use super::stream::read_frames;
use super::tls::Identity;
use super::udp_socket;
use crate::core::{ClientId, Way};
use writer::Writer;

/// What one client may have on its way to us in streams, and in datagrams.
const WINDOW: u32 = 256 << 10;
/// Room for datagrams that quinn has not sent yet: a slow path's worth.
const DATAGRAMS: usize = 32 << 10;
/// QUIC finds a dead path by itself after this.
const SILENCE: Duration = Duration::from_secs(60);
/// One frame with its length, the longest there is.
const MAX_LONG: usize = 4 + MAX_FRAME;
/// Streams of a client at once, each with packets that are too long for its datagrams. Quinn keeps a place
/// for each from the start, so one who has not sent any may begin with one.
const LONG: u32 = 64;

/// Opens the endpoint.
pub(super) fn endpoint(address: SocketAddr, identity: &Identity) -> Result<Endpoint> {
    let crypto =
        QuicServerConfig::try_from(identity.quic_config()?).context("preparing TLS for QUIC")?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport()?));
    let socket = udp_socket::bound(address, "quic")?.into();
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
        .datagram_send_buffer_size(DATAGRAMS)
        .max_idle_timeout(Some(SILENCE.try_into().context("the idle time of QUIC")?));
    Ok(transport)
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
    let mut outlet = Writer::new(connection, id, &door.hub);
    tokio::select! {
        () = read_frames(reader, rest, id, binding, &door) => {}
        () = read_long(connection, id, &door) => {}
        () = read_datagrams(connection, id, &door) => {}
        () = outlet.run(writer, line) => {}
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
    loop {
        let datagrams = datagrams::receive(connection).await;
        if datagrams.is_empty() || door.hub.tell(ToHub::Datagrams(id, datagrams)).await.is_err() {
            return;
        }
    }
}

/// Packets that were too long for the client's datagrams. Each stream is read by itself, so one that
/// lost something holds up none; quinn bounds how many there are.
async fn read_long(connection: &Connection, id: ClientId, door: &Door) {
    let mut first = true;
    while let Ok(stream) = connection.accept_uni().await {
        if std::mem::take(&mut first) {
            connection.set_max_concurrent_uni_streams(VarInt::from_u32(LONG));
        }
        tokio::spawn(read_one(stream, id, door.hub.clone()));
    }
}

/// One frame, and the end.
async fn read_one(mut stream: RecvStream, id: ClientId, hub: HubHandle) {
    let message = match stream.read_to_end(MAX_LONG).await {
        Ok(bytes) if is_one_frame(&bytes) => ToHub::Frames(id, bytes.into()),
        Ok(_) | Err(ReadToEndError::TooLong) => ToHub::Refuse(id, Refusal::Malformed),
        // The client has given it up, or is gone.
        Err(ReadToEndError::Read(_)) => return,
    };
    // A hub that has ended needs no word.
    let _ = hub.tell(message).await;
}

fn is_one_frame(bytes: &[u8]) -> bool {
    matches!(split_frame(bytes, Framing::Admitted), Ok(Some((_, taken))) if taken == bytes.len())
}
