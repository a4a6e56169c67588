//! A node on nearwire's relay: the session of `relay-client` with sockets around it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use proto::key::PublicKey;
use proto::relay::{ALPN, EXPORTER_LABEL, LaneOpened, upgrade_request};
use proto::ticket::{ControlKeyId, NetworkId, SigningKey, Ticket, UnixSeconds};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use relay_client::{Event, Session};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificate;
use crate::connection::{Frames, Reader, Receiver, Sender, Writer};

/// Signs the tickets of this bench.
const CONTROL: [u8; 32] = [250; 32];
const HOUR: u64 = 3600;
/// What this program sends and receives at once.
const BUFFER: usize = 4 << 20;

/// An admitted node.
pub(crate) struct Node {
    pub(crate) key: PublicKey,
    session: Session,
    writer: Writer,
    frames: Frames,
    datagrams: Option<Connection>,
}

/// Makes nodes.
pub(crate) struct Nodes {
    relay: SocketAddr,
    /// All connections of QUIC share one socket.
    quic: Option<Endpoint>,
    tls: TlsConnector,
}

/// As the relay's configuration has it.
pub(crate) fn control_key() -> Result<String> {
    let key = signing_key(CONTROL)?.verifying_key();
    Ok(format!("1:{}", base64::prelude::BASE64_STANDARD.encode(key.0)))
}

fn signing_key(seed: [u8; 32]) -> Result<SigningKey> {
    SigningKey::from_seed(&seed.into()).context("no key")
}

impl Nodes {
    pub(crate) fn by_quic(relay: SocketAddr) -> Result<Self> {
        let crypto = QuicClientConfig::try_from(certificate::client(ALPN)?)?;
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        let buffers = socket2::SockRef::from(&socket);
        buffers.set_recv_buffer_size(BUFFER)?;
        buffers.set_send_buffer_size(BUFFER)?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let mut endpoint = Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime)?;
        let mut transport = quinn::TransportConfig::default();
        transport.datagram_receive_buffer_size(Some(BUFFER));
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        Ok(Self { quic: Some(endpoint), ..Self::by_tls(relay)? })
    }

    pub(crate) fn by_tls(relay: SocketAddr) -> Result<Self> {
        let tls = TlsConnector::from(Arc::new(certificate::client(b"http/1.1")?));
        Ok(Self { relay, quic: None, tls })
    }

    /// Connects the node of this number.
    pub(crate) async fn connect(&self, number: usize) -> Result<Node> {
        let mut exporter = [0; 32];
        let (writer, reader, datagrams): (Writer, Reader, _) = match &self.quic {
            Some(endpoint) => {
                let connection = endpoint.connect(self.relay, "relay.test")?.await?;
                connection
                    .export_keying_material(&mut exporter, EXPORTER_LABEL, &[])
                    .map_err(|_| anyhow::anyhow!("QUIC exports no keys"))?;
                let (writer, reader) = connection.open_bi().await?;
                (Box::new(writer), Box::new(reader), Some(connection))
            }
            None => {
                let stream = TcpStream::connect(self.relay).await?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from("relay.test")?;
                let mut stream = self.tls.connect(name, stream).await?;
                upgrade(&mut stream).await?;
                let (_, tls) = stream.get_ref();
                exporter = tls.export_keying_material(exporter, EXPORTER_LABEL, Some(&[]))?;
                let (reader, writer) = tokio::io::split(stream);
                (Box::new(writer), Box::new(reader), None)
            }
        };
        let mut node = Node::new(number, exporter, writer, Frames::new(reader), datagrams)?;
        match node.event().await? {
            Some(Event::Admitted(_)) => Ok(node),
            other => bail!("instead of a welcome the relay sent {other:?}"),
        }
    }
}

impl Node {
    fn new(
        number: usize,
        exporter: [u8; 32],
        writer: Writer,
        frames: Frames,
        datagrams: Option<Connection>,
    ) -> Result<Self> {
        let mut seed = [3; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let identity = signing_key(seed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let ticket = Ticket {
            network: NetworkId([1; 16]),
            node: PublicKey::from(seed),
            identity: identity.verifying_key(),
            not_after: UnixSeconds(now + HOUR),
            node_rate: 0,
            network_rate: 0,
            lanes: 0,
        };
        let ticket = ticket.sign(ControlKeyId(1), &signing_key(CONTROL)?);
        let session = Session::new(identity, ticket, exporter);
        Ok(Self { key: PublicKey::from(seed), session, writer, frames, datagrams })
    }

    /// Asks for a lane.
    pub(crate) async fn open_lane(&mut self, peer: PublicKey) -> Result<()> {
        self.session.open_lane(peer);
        self.flush().await
    }

    /// What is told of a lane next.
    pub(crate) async fn lane_opened(&mut self) -> Result<LaneOpened> {
        loop {
            match self.event().await? {
                Some(Event::LaneOpened(opened)) => return Ok(opened),
                None => {}
                other => bail!("instead of a lane the relay sent {other:?}"),
            }
        }
    }

    /// This node's connection, for packets to a peer.
    pub(crate) fn link(self, peer: PublicKey) -> (Sender, Receiver) {
        match self.datagrams {
            Some(connection) => {
                let sender = Sender::Quic(connection.clone(), peer, self.writer);
                (sender, Receiver::Quic(connection, self.frames))
            }
            None => (Sender::Stream(self.writer, peer), Receiver::Stream(self.frames)),
        }
    }

    /// The next event, but for what is no event: then none.
    async fn event(&mut self) -> Result<Option<Event<'static>>> {
        loop {
            self.flush().await?;
            let frame = self.frames.next().await?;
            match self.session.receive(&frame)? {
                None => {}
                Some(Event::Admitted(welcome)) => return Ok(Some(Event::Admitted(welcome))),
                Some(Event::LaneOpened(opened)) => return Ok(Some(Event::LaneOpened(opened))),
                Some(Event::LaneRefused(peer, why)) => {
                    return Ok(Some(Event::LaneRefused(peer, why)));
                }
                Some(_) => return Ok(None),
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let output = self.session.take_output();
        self.writer.write_all(&output).await?;
        Ok(self.writer.flush().await?)
    }
}

async fn upgrade(stream: &mut tokio_rustls::client::TlsStream<TcpStream>) -> Result<()> {
    stream.write_all(upgrade_request("relay.test").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    Ok(())
}
