//! One client's connection, whichever relay it is: packets in and out.

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use iroh_base::EndpointId;
use iroh_relay::protos::relay::{ClientToRelayMsg, Datagrams};
use proto::key::PublicKey;
use proto::relay::{
    Batch, ClientFrame, Framing, RelayFrame, finish_frame, split_frame, start_frame,
};
use relay_client::Session;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::iroh::{Incoming, SharedSink};

pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;
pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// To one peer.
#[allow(dead_code, reason = "QUIC's streams of control are kept so that they stay open")]
pub(crate) enum Sender {
    Stream(Writer, PublicKey),
    Quic(quinn::Connection, PublicKey, Writer),
    Iroh(SharedSink, EndpointId),
}

/// From whoever sends.
#[allow(dead_code, reason = "QUIC's streams of control are kept so that they stay open")]
pub(crate) enum Receiver {
    Stream(Frames),
    Quic(quinn::Connection, Frames),
    Iroh(Incoming),
}

/// Datagrams of one length; the last may be shorter.
pub(crate) struct Packets {
    pub(crate) bytes: Bytes,
    segment: usize,
}

impl Packets {
    pub(crate) fn count(&self) -> usize {
        self.bytes.len().div_ceil(self.segment.max(1))
    }
}

impl Sender {
    /// Sends a batch, and leaves nothing in a buffer of ours.
    pub(crate) async fn send(&mut self, bytes: &Bytes, segment: usize) -> Result<()> {
        match self {
            Self::Stream(writer, peer) => {
                let mut frame = Vec::with_capacity(bytes.len() + 64);
                let start = start_frame(&mut frame);
                let batch = Batch::new(bytes, segment).context("no batch")?;
                ClientFrame::Send(*peer, batch).write(&mut frame);
                finish_frame(&mut frame, start);
                writer.write_all(&frame).await?;
                writer.flush().await?;
            }
            Self::Quic(connection, peer, _) => {
                let batch = Batch::new(bytes, segment).context("no batch")?;
                let limit = connection.max_datagram_size().context("no datagrams")?;
                let datagrams = Session::datagrams(*peer, &batch, limit);
                for datagram in datagrams.context("too long for a datagram")? {
                    connection.send_datagram_wait(datagram.into()).await?;
                }
            }
            Self::Iroh(sink, peer) => {
                let segment_size = u16::try_from(segment)?.try_into().ok();
                let segment_size = segment_size.filter(|_| segment < bytes.len());
                let datagrams = Datagrams { ecn: None, segment_size, contents: bytes.clone() };
                let message = ClientToRelayMsg::Datagrams { dst_endpoint_id: *peer, datagrams };
                sink.lock().await.send(message).await?;
            }
        }
        Ok(())
    }
}

impl Receiver {
    pub(crate) async fn receive(&mut self) -> Result<Packets> {
        match self {
            Self::Stream(frames) => loop {
                let frame = frames.next().await?;
                if let RelayFrame::Received(_, batch) = RelayFrame::parse(&frame)? {
                    return Ok(packets(&frame, &batch));
                }
            },
            Self::Quic(connection, _) => {
                let datagram = connection.read_datagram().await?;
                match RelayFrame::parse(&datagram)? {
                    RelayFrame::Received(_, batch) => Ok(packets(&datagram, &batch)),
                    other => bail!("the relay sent {other:?} as a datagram"),
                }
            }
            Self::Iroh(incoming) => {
                let datagrams = incoming.datagrams().await?;
                let segment = datagrams.segment_size.map_or(usize::MAX, |size| size.get().into());
                Ok(Packets { bytes: datagrams.contents, segment })
            }
        }
    }
}

fn packets(frame: &Bytes, batch: &Batch<'_>) -> Packets {
    Packets { bytes: frame.slice_ref(batch.bytes()), segment: batch.segment() }
}

/// The frames of a stream.
pub(crate) struct Frames {
    reader: Reader,
    held: BytesMut,
}

impl Frames {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, held: BytesMut::new() }
    }

    pub(crate) async fn next(&mut self) -> Result<Bytes> {
        loop {
            if let Some((_, taken)) = split_frame(&self.held, Framing::Admitted)? {
                let mut frame = self.held.split_to(taken).freeze();
                return Ok(frame.split_off(size_of::<u32>()));
            }
            self.held.reserve(4 << 10);
            if self.reader.read_buf(&mut self.held).await? == 0 {
                bail!("the relay ended a connection");
            }
        }
    }
}
