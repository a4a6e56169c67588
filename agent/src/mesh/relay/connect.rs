//! A connection to a relay: QUIC, or TLS on TCP where UDP does not get through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use proto::control::Relay;
use proto::key::PublicKey;
use proto::relay::{Batch, EXPORTER_LABEL, Framing, split_frame, upgrade_request};
use proto::ticket::SignedTicket;
use quinn::crypto::rustls::QuicClientConfig;
use relay_client::Session;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{LineId, trust};
use crate::io::divert::MARK;
use crate::mesh::secret::Secret;

/// How long QUIC may take before TLS is tried.
const QUIC_PATIENCE: Duration = Duration::from_secs(2);
const TLS_PATIENCE: Duration = Duration::from_secs(5);
/// Pieces that wait to be written; of packets, what comes on top is dropped.
const WAITING: usize = 512;
/// Streams of long packets that are under way; what comes on top is dropped.
const LONG: usize = 32;
/// The longest head of an answer to the upgrade.
const LONGEST_HEAD: usize = 4 << 10;

/// What a connection brings.
pub(super) enum Incoming {
    Connected(LineId, Box<Line>),
    Frame(LineId, Vec<u8>),
    Datagram(LineId, Vec<u8>),
    Ended(LineId, String),
}

/// A connection with its session. Dropped, it ends.
pub(super) struct Line {
    pub(super) session: Session,
    /// What carries it, for people to read.
    pub(super) carrier: &'static str,
    /// Where the relay is.
    pub(super) remote: SocketAddr,
    quic: Option<quinn::Connection>,
    /// Places for packets that are too long for datagrams.
    long: Arc<Semaphore>,
    writer: mpsc::Sender<Vec<u8>>,
}

/// What is needed to be admitted.
#[derive(Clone)]
pub(super) struct Admission {
    pub(super) relay: Relay,
    pub(super) identity: Secret,
    pub(super) ticket: SignedTicket,
}

impl Line {
    /// Writes what the session wants written; false if the relay does not read.
    pub(super) fn flush(&mut self) -> bool {
        let output = self.session.take_output();
        output.is_empty() || self.writer.try_send(output).is_ok()
    }

    /// Sends packets: by datagrams if they fit, else by a QUIC stream of their own; over TLS by the one
    /// stream. What there is no room for is lost, as on any full link.
    pub(super) fn send(&mut self, to: PublicKey, batch: Batch<'_>) {
        if let Some(quic) = &self.quic {
            let limit = quic.max_datagram_size().unwrap_or(0);
            if let Some(datagrams) = Session::datagrams(to, &batch, limit) {
                for datagram in datagrams {
                    let _ = quic.send_datagram(datagram.into());
                }
            } else if let Ok(place) = self.long.clone().try_acquire_owned() {
                let (quic, bytes) = (quic.clone(), Session::long(to, batch));
                tokio::spawn(async move {
                    // A connection that is over says so where it is read.
                    let _ = write_long(&quic, &bytes).await;
                    drop(place);
                });
            }
            return;
        }
        if self.writer.capacity() > WAITING / 8 {
            self.session.send(to, batch);
            self.flush();
        }
    }
}

async fn write_long(quic: &quinn::Connection, bytes: &[u8]) -> anyhow::Result<()> {
    let mut stream = quic.open_uni().await?;
    stream.write_all(bytes).await?;
    // Ends at once: what is written is still delivered.
    Ok(stream.finish()?)
}

/// Connects, and hands on what comes until the connection ends.
pub(super) async fn run(
    endpoint: quinn::Endpoint,
    admission: Admission,
    id: LineId,
    to: mpsc::Sender<Incoming>,
) {
    let ended = connected(&endpoint, &admission, id, &to).await;
    let reason = ended.map_or_else(|error| format!("{error:#}"), |()| "it was closed".to_owned());
    // Nobody may want to know any more.
    let _ = to.send(Incoming::Ended(id, reason)).await;
}

async fn connected(
    endpoint: &quinn::Endpoint,
    admission: &Admission,
    id: LineId,
    to: &mpsc::Sender<Incoming>,
) -> anyhow::Result<()> {
    let relay = &admission.relay;
    if let Some(port) = relay.quic_port {
        match tokio::time::timeout(QUIC_PATIENCE, quic(endpoint, relay, port)).await {
            Ok(Ok(connection)) => return over_quic(connection, admission, id, to).await,
            Ok(Err(error)) => tracing::debug!("no QUIC to {}: {error:#}", relay.host),
            Err(_) => tracing::debug!("no QUIC to {}: no answer", relay.host),
        }
    }
    let stream = tokio::time::timeout(TLS_PATIENCE, tls(relay)).await.context("no answer")??;
    let mut exporter = [0; 32];
    stream.get_ref().1.export_keying_material(&mut exporter, EXPORTER_LABEL, Some(&[]))?;
    let remote = stream.get_ref().0.peer_addr()?;
    let by = Carrier { name: "TLS", remote, quic: None };
    let written = say_connected(admission, exporter, by, id, to).await?;
    let (reader, writer) = tokio::io::split(stream);
    tokio::select! {
        written = write(writer, written) => written,
        read = read(reader, id, to) => read,
    }
}

async fn quic(
    endpoint: &quinn::Endpoint,
    relay: &Relay,
    port: u16,
) -> anyhow::Result<quinn::Connection> {
    let crypto = QuicClientConfig::try_from(trust::tls(&relay.certificates, true)?)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(10)));
    config.transport_config(Arc::new(transport));
    let address = address(relay, port).await?;
    Ok(endpoint.connect_with(config, address, &relay.host)?.await?)
}

async fn address(relay: &Relay, port: u16) -> anyhow::Result<SocketAddr> {
    if let Some(&address) = relay.addresses.first() {
        return Ok((address, port).into());
    }
    let mut found = tokio::net::lookup_host((relay.host.as_str(), port)).await?;
    found.next().with_context(|| format!("{} has no address", relay.host))
}

async fn over_quic(
    quic: quinn::Connection,
    admission: &Admission,
    id: LineId,
    to: &mpsc::Sender<Incoming>,
) -> anyhow::Result<()> {
    let mut exporter = [0; 32];
    quic.export_keying_material(&mut exporter, EXPORTER_LABEL, &[])
        .map_err(|_| anyhow::anyhow!("TLS exports nothing"))?;
    let (stream, reader) = quic.open_bi().await?;
    let by = Carrier { name: "QUIC", remote: quic.remote_address(), quic: Some(quic.clone()) };
    let written = say_connected(admission, exporter, by, id, to).await?;
    let long = async {
        // Beside each other: one that lost something holds up none.
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                stream = quic.accept_uni() => {
                    let (stream, to) = (stream?, to.clone());
                    streams.spawn(async move { read(stream, id, &to).await });
                }
                Some(ended) = streams.join_next() => ended??,
            }
        }
    };
    let short = async {
        loop {
            let datagram = quic.read_datagram().await?.to_vec();
            to.send(Incoming::Datagram(id, datagram)).await?;
        }
    };
    tokio::select! {
        written = write(stream, written) => {
            quic.close(0_u32.into(), b"");
            written
        }
        read = read(reader, id, to) => read,
        ended = long => ended,
        ended = short => ended,
    }
}

/// What carries a connection.
struct Carrier {
    name: &'static str,
    remote: SocketAddr,
    quic: Option<quinn::Connection>,
}

async fn say_connected(
    admission: &Admission,
    exporter: [u8; 32],
    by: Carrier,
    id: LineId,
    to: &mpsc::Sender<Incoming>,
) -> anyhow::Result<mpsc::Receiver<Vec<u8>>> {
    let session = Session::new(admission.identity.signing_key()?, admission.ticket, exporter);
    let (writer, written) = mpsc::channel(WAITING);
    let Carrier { name, remote, quic } = by;
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    let mut line =
        Line { session, carrier: name, remote, quic, long: Arc::new(Semaphore::new(LONG)), writer };
    line.flush();
    to.send(Incoming::Connected(id, Box::new(line))).await?;
    Ok(written)
}

/// Marks a socket that carries the tunnel, so that it does not go by the tunnel.
pub(super) fn marked(socket: SockRef<'_>) {
    if let Err(error) = socket.set_mark(MARK) {
        tracing::warn!(%error, "packets to relays are not marked: with an exit node they would circle");
    }
}

async fn tls(
    relay: &Relay,
) -> anyhow::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let address = address(relay, relay.tls_port).await?;
    let tcp = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    marked(SockRef::from(&tcp));
    let tcp = tcp.connect(address).await?;
    tcp.set_nodelay(true)?;
    let connector =
        tokio_rustls::TlsConnector::from(Arc::new(trust::tls(&relay.certificates, false)?));
    let name = ServerName::try_from(relay.host.clone())?;
    let mut stream = connector.connect(name, tcp).await?;
    stream.write_all(upgrade_request(&relay.host).as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        if head.len() > LONGEST_HEAD {
            bail!("its answer is none");
        }
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        bail!("it does not speak the relay's protocol on this port");
    }
    Ok(stream)
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut pieces: mpsc::Receiver<Vec<u8>>,
) -> anyhow::Result<()> {
    while let Some(bytes) = pieces.recv().await {
        to.write_all(&bytes).await?;
        if pieces.is_empty() {
            to.flush().await?;
        }
    }
    to.shutdown().await?;
    Ok(())
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    id: LineId,
    to: &mpsc::Sender<Incoming>,
) -> anyhow::Result<()> {
    let mut held = Vec::new();
    while from.read_buf(&mut held).await? > 0 {
        let mut start = 0;
        while let Some((frame, taken)) = split_frame(&held[start..], Framing::Admitted)? {
            to.send(Incoming::Frame(id, frame.to_vec())).await?;
            start += taken;
        }
        held.drain(..start);
    }
    Ok(())
}
