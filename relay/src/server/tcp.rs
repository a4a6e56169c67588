//! TLS on TCP: a node asks by HTTP to speak our protocol, then does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use certificates::ACME_TLS;
use proto::relay::{EXPORTER_LABEL, Head, UPGRADE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::admission::{Client, Door};
use super::hub::{ToConnection, ToHub};
use super::line::LineReceiver;
use super::stream::{frame_into, read_frames, write_all};
use crate::core::{UNSAID, Way};

/// The longest buffer that a silent client keeps.
const KEPT: usize = 4 << 10;
/// What waits in the kernel before it is sent, in bytes.
const UNSENT: u32 = 64 << 10;
/// After a failed accept: too many open files end by themselves, a busy loop does not.
const PAUSE: Duration = Duration::from_millis(100);
/// Deliveries written together.
const TOGETHER: usize = 64;

type Stream = TlsStream<TcpStream>;

/// Takes connections for ever.
pub(super) async fn serve(
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    door: Arc<Door>,
) {
    let acceptor = TlsAcceptor::from(config);
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "taking a TCP connection failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        tokio::spawn(connection(stream, from, acceptor.clone(), door.clone()));
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, acceptor: TlsAcceptor, door: Arc<Door>) {
    let Some(place) = door.enter(from.ip()) else { return };
    let admitted = timeout(door.time, admitted(stream, acceptor, &door)).await;
    drop(place);
    match admitted {
        // A task of its own: what admission needed is given back.
        Ok(Some((client, reader, writer))) => {
            drop(tokio::spawn(async move { serve_client(client, reader, writer, &door).await }));
        }
        Ok(None) => {}
        Err(_) => door.failed(),
    }
}

/// A packet that waits for more to come is late; and what the kernel has taken cannot be dropped nor
/// overtaken any more, so it takes little beyond what is on its way.
fn lively(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT)
}

/// A client, through TLS, HTTP and its ticket.
async fn admitted(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    door: &Door,
) -> Option<(Client, ReadHalf<Stream>, WriteHalf<Stream>)> {
    let started = match lively(&stream) {
        Ok(()) => acceptor.accept(stream).await.ok(),
        Err(_) => None,
    };
    if let Some(stream) = &started
        && stream.get_ref().1.alpn_protocol() == Some(ACME_TLS)
    {
        // A certificate authority has seen what it wanted to see.
        return None;
    }
    let upgraded = match started {
        Some(mut stream) => upgrade(&mut stream).await.then_some(stream),
        None => None,
    };
    let exported = upgraded.and_then(|stream| {
        let exporter =
            stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).ok()?;
        Some((stream, exporter))
    });
    let Some((stream, exporter)) = exported else {
        door.failed();
        return None;
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let client = door.admit(&mut reader, &mut writer, exporter, Way::Tls).await?;
    Some((client, reader, writer))
}

/// Answers the request; true if it asks for our protocol.
async fn upgrade(stream: &mut Stream) -> bool {
    let mut head = BytesMut::with_capacity(512);
    let asked = loop {
        match Head::parse(&head) {
            Head::Partial => {}
            Head::Whole(asked) => break asked,
            Head::Malformed => return false,
        }
        if !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
            return false;
        }
    };
    let answer = if asked {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {UPGRADE}\r\n\r\n"
        )
    } else {
        let text = "This is a relay of nearwire. It speaks with nodes only.\n";
        format!(
            "HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\nUpgrade: {UPGRADE}\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
    };
    let written = stream.write_all(answer.as_bytes()).await.is_ok();
    written && stream.flush().await.is_ok() && asked
}

async fn serve_client(
    client: Client,
    mut reader: ReadHalf<Stream>,
    mut writer: WriteHalf<Stream>,
    door: &Door,
) {
    let Client { id, binding, mut line, rest } = client;
    tokio::select! {
        () = read_frames(&mut reader, rest, id, &binding, door) => {}
        () = write_deliveries(&mut writer, &mut line, id, door) => {}
    }
    // The hub may have ended before us.
    let _ = door.hub.tell(ToHub::Left(id)).await;
    let _ = timeout(Duration::from_secs(1), writer.shutdown()).await;
}

/// Writes what the hub gives until it closes or the stream ends.
async fn write_deliveries(
    writer: &mut WriteHalf<Stream>,
    line: &mut LineReceiver,
    id: crate::core::ClientId,
    door: &Door,
) {
    let mut given = Vec::new();
    let mut bytes = Vec::new();
    let mut written = 0;
    while line.receive(&mut given, TOGETHER).await > 0 {
        let mut close = false;
        for message in given.drain(..) {
            match message {
                ToConnection::Deliver(delivery) => {
                    written += delivery.cost();
                    frame_into(&delivery, &mut bytes);
                }
                ToConnection::Close => close = true,
            }
        }
        if !write_all(writer, &bytes).await || close {
            return;
        }
        // A silent client keeps no buffer.
        if bytes.capacity() > KEPT && line.is_empty() {
            bytes = Vec::new();
        }
        bytes.clear();
        if written >= UNSAID {
            if door.hub.tell(ToHub::Written(id, written)).await.is_err() {
                return;
            }
            written = 0;
        }
    }
}
