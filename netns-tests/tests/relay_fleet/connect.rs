//! One connection of a node, by QUIC or TLS, and the session of `relay-client`.

use anyhow::{Result, ensure};
use netns_tests::TcpDialler;
use proto::key::PublicKey;
use proto::relay::{Batch, EXPORTER_LABEL, Framing, split_frame, upgrade_request};
use relay_client::{ConnectionId, Session};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use super::certificate;
use super::relays::{Place, ticket};

/// What comes from a connection.
pub(crate) enum Incoming {
    Connected(ConnectionId, Box<Line>),
    Frame(ConnectionId, Vec<u8>),
    Datagram(ConnectionId, Vec<u8>),
    Ended(ConnectionId),
}

/// A connection with its session.
pub(crate) struct Line {
    pub(crate) session: Session,
    /// What carries datagrams, if anything does.
    quic: Option<quinn::Connection>,
    writer: mpsc::UnboundedSender<Vec<u8>>,
}

/// By what a node connects.
#[derive(Clone, Debug)]
pub(crate) enum Dialler {
    Quic(quinn::Endpoint),
    Tls(TcpDialler),
}

/// Connects, and hands on what comes until the connection ends.
pub(crate) async fn run(
    dialler: Dialler,
    place: Place,
    id: ConnectionId,
    who: (u8, u8),
    to: mpsc::UnboundedSender<Incoming>,
) {
    let connected = async {
        match dialler {
            Dialler::Quic(endpoint) => by_quic(&endpoint, &place, id, who, &to).await,
            Dialler::Tls(dialler) => by_tls(dialler, &place, id, who, &to).await,
        }
    };
    // Why it ended does not matter: the node goes elsewhere.
    let _ = connected.await;
    let _ = to.send(Incoming::Ended(id));
}

async fn by_quic(
    endpoint: &quinn::Endpoint,
    place: &Place,
    id: ConnectionId,
    who: (u8, u8),
    to: &mpsc::UnboundedSender<Incoming>,
) -> Result<()> {
    let config = certificate::quic(&place.fingerprint);
    let quic = endpoint.connect_with(config, place.address, "relay.test")?.await?;
    let mut exporter = [0; 32];
    quic.export_keying_material(&mut exporter, EXPORTER_LABEL, &[])
        .map_err(|_| anyhow::anyhow!("TLS exports nothing"))?;
    let (mut stream, reader) = quic.open_bi().await?;
    let (line, written) = Line::new(who, exporter, Some(quic.clone()));
    let _ = to.send(Incoming::Connected(id, Box::new(line)));
    let write = async {
        write(&mut stream, written).await?;
        // The node has let go of it: what was said last is to arrive.
        stream.finish()?;
        let _ = stream.stopped().await;
        quic.close(0_u32.into(), b"");
        anyhow::Ok(())
    };
    let frames = |frame| to.send(Incoming::Frame(id, frame)).is_ok();
    let long = async {
        while let Ok(stream) = quic.accept_uni().await {
            read_frames(stream, frames).await;
        }
    };
    let short = async {
        while let Ok(datagram) = quic.read_datagram().await {
            let _ = to.send(Incoming::Datagram(id, datagram.to_vec()));
        }
    };
    tokio::select! {
        _ = write => {}
        () = read_frames(reader, frames) => {}
        () = long => {}
        () = short => {}
    }
    Ok(())
}

async fn by_tls(
    dialler: TcpDialler,
    place: &Place,
    id: ConnectionId,
    who: (u8, u8),
    to: &mpsc::UnboundedSender<Incoming>,
) -> Result<()> {
    let stream = upgraded(dialler, place).await?;
    let exporter = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[]))?;
    let (reader, mut writer) = tokio::io::split(stream);
    let (line, written) = Line::new(who, exporter, None);
    let _ = to.send(Incoming::Connected(id, Box::new(line)));
    let write = async {
        write(&mut writer, written).await?;
        writer.shutdown().await?;
        anyhow::Ok(())
    };
    tokio::select! {
        _ = write => {}
        () = read_frames(reader, |frame| to.send(Incoming::Frame(id, frame)).is_ok()) => {}
    }
    Ok(())
}

async fn upgraded(dialler: TcpDialler, place: &Place) -> Result<TlsStream<TcpStream>> {
    let address = place.address;
    let stream = tokio::task::spawn_blocking(move || dialler.connect(address)).await??;
    stream.set_nonblocking(true)?;
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("relay.test")?;
    let mut stream = certificate::tls(&place.fingerprint).connect(name, stream).await?;
    stream.write_all(upgrade_request("relay.test").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    Ok(stream)
}

async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    mut pieces: mpsc::UnboundedReceiver<Vec<u8>>,
) -> Result<()> {
    while let Some(bytes) = pieces.recv().await {
        to.write_all(&bytes).await?;
        to.flush().await?;
    }
    Ok(())
}

async fn read_frames(mut reader: impl AsyncRead + Unpin, frames: impl Fn(Vec<u8>) -> bool) {
    let mut held = Vec::new();
    while matches!(reader.read_buf(&mut held).await, Ok(1..)) {
        while let Ok(Some((frame, taken))) = split_frame(&held, Framing::Admitted) {
            if !frames(frame.to_vec()) {
                return;
            }
            held.drain(..taken);
        }
    }
}

impl Line {
    /// The session of a node on a connection, and what is to be written.
    fn new(
        (network, node): (u8, u8),
        exporter: [u8; 32],
        quic: Option<quinn::Connection>,
    ) -> (Self, mpsc::UnboundedReceiver<Vec<u8>>) {
        let (identity, ticket) = ticket(network, node);
        let session = Session::new(identity, ticket, exporter);
        let (writer, written) = mpsc::unbounded_channel();
        let mut line = Self { session, quic, writer };
        line.flush();
        (line, written)
    }

    /// Writes what the session wants written.
    pub(crate) fn flush(&mut self) {
        let output = self.session.take_output();
        if !output.is_empty() {
            // A connection that has ended says so by itself.
            let _ = self.writer.send(output);
        }
    }

    /// Sends a packet: by a datagram if it fits, else by the stream.
    pub(crate) fn send(&mut self, to: PublicKey, packet: &[u8]) {
        let Some(batch) = Batch::single(packet) else { return };
        let quic = self.quic.as_ref();
        let limit = quic.and_then(quinn::Connection::max_datagram_size).unwrap_or(0);
        match (quic, Session::datagrams(to, &batch, limit)) {
            (Some(quic), Some(datagrams)) => datagrams.into_iter().for_each(|datagram| {
                let _ = quic.send_datagram(datagram.into());
            }),
            _ => {
                self.session.send(to, batch);
                self.flush();
            }
        }
    }
}
