//! A relay, and who may use it.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto::key::PublicKey;
use proto::ticket::{ControlKeyId, NetworkId, SignedTicket, SigningKey, Ticket, UnixSeconds};
use relay::server::{Addresses, Config, Options, Server};

/// A relay on loopback, in this process.
pub(crate) struct Scene {
    pub(crate) server: Server,
    relay: Relay,
}

/// A relay, as its clients know it.
pub(crate) struct Relay {
    pub(crate) addresses: Addresses,
    /// Of its certificate.
    pub(crate) fingerprint: String,
}

impl Deref for Scene {
    type Target = Relay;

    fn deref(&self) -> &Relay {
        &self.relay
    }
}

/// Someone who holds keys and a ticket.
pub(crate) struct Holder {
    pub(crate) key: PublicKey,
    pub(crate) identity: SigningKey,
    pub(crate) ticket: SignedTicket,
}

pub(crate) fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).expect("every seed is a key")
}

pub(crate) fn control_key() -> SigningKey {
    signing_key(250)
}

/// The control key as relays are told.
pub(crate) fn control_key_text() -> String {
    format!("1:{}", PublicKey::from(control_key().verifying_key().0).to_base64())
}

pub(crate) fn wall() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs())
}

/// A good ticket.
pub(crate) fn ticket(network: u8, node: u8) -> Ticket {
    Ticket {
        network: NetworkId([network; 16]),
        node: PublicKey::from([node; 32]),
        identity: signing_key(node).verifying_key(),
        not_after: UnixSeconds(wall().0 + 600),
        node_rate: 0,
        network_rate: 0,
        lanes: 0,
    }
}

pub(crate) fn holder(network: u8, node: u8) -> Holder {
    let ticket = ticket(network, node);
    Holder {
        key: ticket.node,
        identity: signing_key(node),
        ticket: ticket.sign(ControlKeyId(1), &control_key()),
    }
}

/// What all relays here are started with: every port is whichever is free.
pub(crate) fn options() -> Options {
    let any = |text: &str| Some(text.parse::<SocketAddr>().expect("an address"));
    Options {
        quic: any("127.0.0.1:0"),
        tls: any("127.0.0.1:0"),
        lanes: any("[::]:0"),
        lane_addresses: Some(vec![
            "127.0.0.1:0".parse().expect("v4"),
            "[::1]:0".parse().expect("v6"),
        ]),
        admin: any("127.0.0.1:0"),
        self_signed: Some(vec!["relay.test".to_owned()]),
        control_keys: Some(vec![control_key_text().parse().expect("a control key")]),
        ..Options::default()
    }
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::of(options.check().expect("a good configuration")).await
    }

    pub(crate) async fn of(config: Config) -> Self {
        let server = Server::start(config).await.expect("the relay starts");
        let fingerprint = server.fingerprint().unwrap_or_default().to_owned();
        Self { relay: Relay { addresses: server.addresses(), fingerprint }, server }
    }
}

impl Relay {
    /// What an operator is shown.
    pub(crate) async fn page(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let admin = self.addresses.admin.expect("an admin address");
        let mut stream = tokio::net::TcpStream::connect(admin).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asks");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answers");
        answer
    }

    /// The whole of /status.
    pub(crate) async fn json(&self) -> serde_json::Value {
        let page = self.page("/status").await;
        let (_, body) = page.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    }

    /// A number of /status, by its path: `/totals/clients`.
    pub(crate) async fn status(&self, path: &str) -> u64 {
        self.json().await.pointer(path).and_then(serde_json::Value::as_u64).expect(path)
    }

    /// Waits until a number of /status is this.
    pub(crate) async fn until(&self, path: &str, wanted: u64) {
        self.until_within(path, wanted, Duration::from_secs(10)).await;
    }

    /// Waits so long until a number of /status is this.
    pub(crate) async fn until_within(&self, path: &str, wanted: u64, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let now = self.status(path).await;
            if now == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{path} is {now}, not {wanted}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}
