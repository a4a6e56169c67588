//! One connection of a node: QUIC, and the session of `relay-client`.

use proto::key::PublicKey;
use proto::relay::{Batch, EXPORTER_LABEL, Framing, split_frame};
use relay_client::{ConnectionId, Session};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;

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
    pub(crate) quic: quinn::Connection,
    writer: mpsc::UnboundedSender<Vec<u8>>,
}

/// Connects, and hands on what comes until the connection ends.
pub(crate) async fn run(
    endpoint: quinn::Endpoint,
    place: Place,
    id: ConnectionId,
    (network, node): (u8, u8),
    to: mpsc::UnboundedSender<Incoming>,
) {
    // Why it ended does not matter: the node goes elsewhere.
    let _ = connected(&endpoint, &place, id, (network, node), &to).await;
    let _ = to.send(Incoming::Ended(id));
}

async fn connected(
    endpoint: &quinn::Endpoint,
    place: &Place,
    id: ConnectionId,
    (network, node): (u8, u8),
    to: &mpsc::UnboundedSender<Incoming>,
) -> anyhow::Result<()> {
    let config = certificate::config(&place.fingerprint);
    let quic = endpoint.connect_with(config, place.address, "relay.test")?.await?;
    let mut exporter = [0; 32];
    quic.export_keying_material(&mut exporter, EXPORTER_LABEL, &[])
        .map_err(|_| anyhow::anyhow!("TLS exports nothing"))?;
    let (mut stream, reader) = quic.open_bi().await?;
    let (identity, ticket) = ticket(network, node);
    let session = Session::new(identity, ticket, exporter);
    let (writer, mut written) = mpsc::unbounded_channel::<Vec<u8>>();
    let mut line = Line { session, quic: quic.clone(), writer };
    line.flush();
    let _ = to.send(Incoming::Connected(id, Box::new(line)));
    let write = async {
        while let Some(bytes) = written.recv().await {
            stream.write_all(&bytes).await?;
        }
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
        let limit = self.quic.max_datagram_size().unwrap_or(0);
        match Session::datagrams(to, &batch, limit) {
            Some(datagrams) => datagrams.into_iter().for_each(|datagram| {
                let _ = self.quic.send_datagram(datagram.into());
            }),
            None => {
                self.session.send(to, batch);
                self.flush();
            }
        }
    }
}
