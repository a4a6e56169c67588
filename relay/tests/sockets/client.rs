//! A client on QUIC or TLS: the session of `relay-client` with sockets around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proto::key::PublicKey;
use proto::relay::{ALPN, Batch, EXPORTER_LABEL, Framing, Welcome, split_frame, upgrade_request};
use quinn::crypto::rustls::QuicClientConfig;
use relay_client::{Event, Session, SessionError};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::scene::{Holder, Relay};

/// How long anything may take here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Quic,
    Tls,
}

/// What comes from the relay.
enum Incoming {
    Frame(Vec<u8>),
    Datagram(Vec<u8>),
}

/// What a client was given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Packets { from: PublicKey, bytes: Vec<u8>, segment: usize },
    Other(Event<'static>),
}

/// An admitted client.
pub(crate) struct Client {
    pub(crate) key: PublicKey,
    pub(crate) welcome: Welcome,
    pub(crate) session: Session,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    quic: Option<(quinn::Endpoint, quinn::Connection)>,
    incoming: mpsc::UnboundedReceiver<Incoming>,
}

fn tls(relay: &Relay, alpn: &[u8]) -> rustls::ClientConfig {
    let mut config = tls_trust::pinned(std::slice::from_ref(&relay.fingerprint)).expect("TLS 1.3");
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// A QUIC connection, nothing said on it yet.
pub(crate) async fn quic(relay: &Relay) -> (quinn::Endpoint, quinn::Connection) {
    let quic = relay.addresses.quic.expect("it takes QUIC");
    let ip: IpAddr = match quic {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let endpoint = quinn::Endpoint::client((ip, 0).into()).expect("an endpoint");
    let crypto = QuicClientConfig::try_from(tls(relay, ALPN)).expect("a QUIC configuration");
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, quic, "relay.test");
    let connection = connecting.expect("an address").await.expect("connects");
    (endpoint, connection)
}

/// A TLS connection, nothing said on it yet.
pub(crate) async fn tcp(relay: &Relay) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(relay.addresses.tls).await.expect("connects");
    handshake(relay, stream).await.expect("TLS")
}

/// What both ends export from a TLS connection.
pub(crate) fn exporter(stream: &TlsStream<TcpStream>) -> [u8; 32] {
    let (_, tls) = stream.get_ref();
    tls.export_keying_material([0; 32], EXPORTER_LABEL, Some(&[])).expect("exports")
}

/// TLS on a connection.
pub(crate) async fn handshake(
    relay: &Relay,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true).expect("no delay");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls(relay, b"http/1.1")));
    connector.connect(ServerName::try_from("relay.test").expect("a name"), stream).await
}

impl Client {
    pub(crate) async fn new(relay: &Relay, way: Way, holder: Holder) -> Self {
        match Self::try_new(relay, way, holder).await {
            Ok(client) => client,
            Err(error) => panic!("not admitted by {way:?}: {error}"),
        }
    }

    pub(crate) async fn try_new(
        relay: &Relay,
        way: Way,
        holder: Holder,
    ) -> Result<Self, SessionError> {
        Self::hasty(relay, way, holder, &[]).await
    }

    /// One that sends these datagrams before it is admitted, if it has any.
    pub(crate) async fn hasty(
        relay: &Relay,
        way: Way,
        holder: Holder,
        early: &[Vec<u8>],
    ) -> Result<Self, SessionError> {
        let (to, incoming) = mpsc::unbounded_channel();
        let Holder { key, identity, ticket } = holder;
        let mut exporter = [0; 32];
        let (writer, quic): (Box<dyn AsyncWrite + Send + Unpin>, _) = match way {
            Way::Quic => {
                let (endpoint, connection) = quic(relay).await;
                let exported =
                    connection.export_keying_material(&mut exporter, EXPORTER_LABEL, &[]);
                exported.expect("exports");
                for datagram in early {
                    connection.send_datagram(datagram.clone().into()).expect("sends");
                }
                let (writer, reader) = connection.open_bi().await.expect("a stream");
                tokio::spawn(read_stream(reader, to.clone()));
                tokio::spawn(read_datagrams(connection.clone(), to));
                (Box::new(writer), Some((endpoint, connection)))
            }
            Way::Tls => {
                let mut stream = tcp(relay).await;
                upgrade(&mut stream).await;
                exporter = self::exporter(&stream);
                let (reader, writer) = tokio::io::split(stream);
                tokio::spawn(read_stream(reader, to));
                (Box::new(writer), None)
            }
        };
        let welcome = Welcome { until: super::scene::wall(), rate: 0, lanes: 0, idle: 0 };
        let session = Session::new(identity, ticket, exporter);
        let mut client = Self { key, welcome, session, writer, quic, incoming };
        client.flush().await;
        match client.next().await? {
            Got::Other(Event::Admitted(welcome)) => client.welcome = welcome,
            other => panic!("instead of a welcome: {other:?}"),
        }
        Ok(client)
    }

    /// Writes what the session wants written.
    pub(crate) async fn flush(&mut self) {
        let output = self.session.take_output();
        // A relay that has refused us may be gone: what it said counts.
        let _ = self.writer.write_all(&output).await;
        let _ = self.writer.flush().await;
    }

    /// Writes bytes that the session would not.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.expect("writes");
        self.writer.flush().await.expect("writes");
    }

    /// Sends packets: by datagrams where there are any and they fit, else by a stream of their own, and
    /// over TLS by the one there is.
    pub(crate) async fn send(&mut self, to: PublicKey, bytes: &[u8], segment: usize) {
        let batch = Batch::new(bytes, segment).expect("a batch");
        let limit = self.quic.as_ref().and_then(|(_, quic)| quic.max_datagram_size());
        let datagrams = limit.and_then(|limit| Session::datagrams(to, &batch, limit));
        match (&self.quic, datagrams) {
            (Some((_, connection)), Some(datagrams)) => {
                for datagram in datagrams {
                    connection.send_datagram_wait(datagram.into()).await.expect("sends");
                }
            }
            (Some((_, connection)), None) => {
                let mut stream = connection.open_uni().await.expect("a stream");
                stream.write_all(&Session::long(to, batch)).await.expect("sends");
                stream.finish().expect("ends");
            }
            (None, _) => {
                self.session.send(to, batch);
                self.flush().await;
            }
        }
    }

    /// What comes next; pings are answered on the way.
    pub(crate) async fn next(&mut self) -> Result<Got, SessionError> {
        loop {
            let incoming = timeout(PATIENCE, self.incoming.recv()).await.expect("in time");
            let incoming = incoming.expect("the connection ended without a word");
            let got = match &incoming {
                Incoming::Datagram(bytes) => {
                    let (from, batch) = self.session.receive_datagram(bytes)?;
                    Some(packets(from, &batch))
                }
                Incoming::Frame(frame) => self.session.receive(frame)?.map(owned),
            };
            self.flush().await;
            if let Some(got) = got {
                return Ok(got);
            }
        }
    }

    /// The next packets.
    pub(crate) async fn packets(&mut self) -> (PublicKey, Vec<u8>, usize) {
        match self.next().await {
            Ok(Got::Packets { from, bytes, segment }) => (from, bytes, segment),
            other => panic!("instead of packets: {other:?}"),
        }
    }

    /// The next event that is no packet.
    pub(crate) async fn event(&mut self) -> Event<'static> {
        match self.next().await {
            Ok(Got::Other(event)) => event,
            other => panic!("instead of an event: {other:?}"),
        }
    }

    /// A stream for a long packet.
    pub(crate) async fn stream(&self) -> quinn::SendStream {
        let (_, connection) = self.quic.as_ref().expect("it is on QUIC");
        connection.open_uni().await.expect("a stream")
    }

    /// Goes on from another port.
    pub(crate) fn rebind(&self) {
        let (endpoint, _) = self.quic.as_ref().expect("it is on QUIC");
        let now = endpoint.local_addr().expect("an address");
        let other = std::net::UdpSocket::bind((now.ip(), 0)).expect("another port");
        endpoint.rebind(other).expect("goes on");
    }

    /// The largest datagram of the connection, if it has any.
    pub(crate) fn datagram_limit(&self) -> Option<usize> {
        self.quic.as_ref().and_then(|(_, quic)| quic.max_datagram_size())
    }
}

fn packets(from: PublicKey, batch: &Batch<'_>) -> Got {
    Got::Packets { from, bytes: batch.bytes().to_vec(), segment: batch.segment() }
}

fn owned(event: Event<'_>) -> Got {
    match event {
        Event::Received(from, batch) => packets(from, &batch),
        Event::Admitted(welcome) => Got::Other(Event::Admitted(welcome)),
        Event::PeerGone(peer) => Got::Other(Event::PeerGone(peer)),
        Event::LaneOpened(opened) => Got::Other(Event::LaneOpened(opened)),
        Event::LaneRefused(peer, why) => Got::Other(Event::LaneRefused(peer, why)),
        Event::LaneClosed(lane) => Got::Other(Event::LaneClosed(lane)),
        Event::Drain(within) => Got::Other(Event::Drain(within)),
        Event::Pong(number) => Got::Other(Event::Pong(number)),
    }
}

/// Asks by HTTP to speak the relay's protocol.
pub(crate) async fn upgrade(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(upgrade_request("relay.test").as_bytes()).await.expect("asks");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("answers"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
}

async fn read_stream(mut reader: impl AsyncRead + Unpin, to: mpsc::UnboundedSender<Incoming>) {
    let mut held = Vec::new();
    while matches!(reader.read_buf(&mut held).await, Ok(1..)) {
        while let Some((frame, taken)) = split_frame(&held, Framing::Admitted).expect("frames") {
            let _ = to.send(Incoming::Frame(frame.to_vec()));
            held.drain(..taken);
        }
    }
}

/// Datagrams, and the stream of packets that are too long for them.
async fn read_datagrams(connection: quinn::Connection, to: mpsc::UnboundedSender<Incoming>) {
    let long = async {
        while let Ok(stream) = connection.accept_uni().await {
            tokio::spawn(read_stream(stream, to.clone()));
        }
    };
    let short = async {
        while let Ok(datagram) = connection.read_datagram().await {
            let _ = to.send(Incoming::Datagram(datagram.to_vec()));
        }
    };
    tokio::join!(long, short);
}
