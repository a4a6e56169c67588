//! The port for other relays, as somebody meets it who is none of them, or is one and lies.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::key::PublicKey;
use proto::mesh::{Hello, MESH_ALPN, MESH_EXPORTER_LABEL, MeshFrame, RelayId};
use proto::relay::{finish_frame, start_frame};
use proto::ticket::SigningKey;
use quinn::crypto::rustls::QuicClientConfig;
use relay::server::{Options, Server, make_key};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PATIENCE: Duration = Duration::from_secs(10);
const REGION: &str = "here";

/// A relay of a region in which the test is relay 9.
struct Scene {
    directory: PathBuf,
    server: Server,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // What cannot be removed is in the directory for such things.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).expect("every seed is a key")
}

impl Scene {
    async fn new(name: &str) -> Self {
        let name = format!("relay-region-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        let key = directory.join("relay.key");
        let public = make_key(&key).expect("a key");
        let ours = BASE64_STANDARD.encode(signing_key(9).verifying_key().0);
        let region = directory.join("region.toml");
        let relay = |id, key: &str| {
            format!("[[relay]]\nid = {id}\nkey = \"{key}\"\nmesh = \"127.0.0.1:9\"\n")
        };
        // The greater id takes, so the relay dials nobody.
        let text = format!("name = \"{REGION}\"\n{}{}", relay(10, &public), relay(9, &ours));
        std::fs::write(&region, text).expect("a file");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let control = PublicKey::from([9; 32]).to_base64();
        let options = Options {
            quic: Some(any),
            tls: Some(any),
            admin: Some(any),
            mesh: Some(any),
            region: Some(region),
            relay_key: Some(key),
            self_signed: Some(vec!["relay.test".to_owned()]),
            control_keys: Some(vec![format!("1:{control}").parse().expect("a control key")]),
            drain_time: Some(100),
            ..Options::default()
        };
        let config = options.check().expect("a good configuration");
        let server = Server::start(config).await.expect("the relay starts");
        Self { directory, server }
    }

    async fn connect(&self) -> (quinn::Endpoint, quinn::Connection) {
        // The relay's certificate says nothing.
        let mut config = tls_trust::anybody().expect("TLS 1.3");
        config.alpn_protocols = vec![MESH_ALPN.to_vec()];
        let crypto = QuicClientConfig::try_from(config).expect("a configuration for QUIC");
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let local: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let endpoint = quinn::Endpoint::client(local).expect("an endpoint");
        let address = self.server.addresses().mesh.expect("a mesh");
        let connecting = endpoint.connect_with(config, address, "mesh").expect("an address");
        let connection = connecting.await.expect("connects");
        (endpoint, connection)
    }

    /// Greets as a relay, and gives how many bytes were answered until the end, or until a hello.
    async fn greet(&self, from: u32, to: u32, key: &SigningKey, region: &str) -> usize {
        let (_endpoint, connection) = self.connect().await;
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, MESH_EXPORTER_LABEL, &[])
            .expect("exports");
        let hello = Hello::new(region, RelayId(from), RelayId(to), &exporter, key);
        let (mut writer, mut reader) = connection.open_bi().await.expect("a stream");
        let hello = framed(&MeshFrame::Hello(Box::new(hello)));
        writer.write_all(&hello).await.expect("writes");
        let mut answer = Vec::new();
        while answer.len() < hello.len()
            && matches!(
                tokio::time::timeout(PATIENCE, reader.read_buf(&mut answer)).await,
                Ok(Ok(1..))
            )
        {}
        answer.len()
    }

    async fn ask(&self, request: &str) -> String {
        let admin = self.server.addresses().admin.expect("an admin address");
        let mut stream = tokio::net::TcpStream::connect(admin).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("asks");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answers");
        answer
    }

    async fn links_up(&self) -> usize {
        let page = self.ask("GET /status HTTP/1.1\r\n\r\n").await;
        page.matches("\"up\": true").count()
    }

    async fn until_up(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.links_up().await != count {
            assert!(Instant::now() < deadline, "there should be {count} links");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn framed(frame: &MeshFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = start_frame(&mut bytes);
    frame.write(&mut bytes);
    finish_frame(&mut bytes, start);
    bytes
}

#[tokio::test]
async fn only_a_relay_of_the_region_is_greeted_back() {
    let scene = Scene::new("strangers").await;
    let right = signing_key(9);
    assert_eq!(scene.greet(9, 10, &signing_key(8), REGION).await, 0, "another key");
    assert_eq!(scene.greet(8, 10, &right, REGION).await, 0, "an id that is not there");
    assert_eq!(scene.greet(10, 10, &right, REGION).await, 0, "its own id");
    assert_eq!(scene.greet(9, 8, &right, REGION).await, 0, "meant for another");
    assert_eq!(scene.greet(9, 10, &right, "there").await, 0, "of another region");
    assert_eq!(scene.links_up().await, 0);
    assert!(scene.greet(9, 10, &right, REGION).await > 0);
}

#[tokio::test]
async fn a_relay_that_sends_what_is_no_frame_loses_its_link() {
    let scene = Scene::new("liar").await;
    let (_endpoint, connection) = scene.connect().await;
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, MESH_EXPORTER_LABEL, &[]).expect("exports");
    let hello = Hello::new(REGION, RelayId(9), RelayId(10), &exporter, &signing_key(9));
    let (mut writer, _reader) = connection.open_bi().await.expect("a stream");
    let hello = framed(&MeshFrame::Hello(Box::new(hello)));
    writer.write_all(&hello).await.expect("writes");
    let beats = async {
        loop {
            let mut beat = Vec::new();
            MeshFrame::Beat(1).write(&mut beat);
            // Refused once the link has ended.
            let _ = connection.send_datagram(beat.into());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let test = async {
        scene.until_up(1).await;
        connection.send_datagram(vec![200, 1, 2].into()).expect("sends");
        tokio::time::timeout(PATIENCE, connection.closed()).await.expect("the link ends");
        scene.until_up(0).await;
    };
    tokio::select! {
        () = test => {}
        () = beats => {}
    }
}

#[tokio::test]
async fn one_who_says_nothing_is_not_waited_for() {
    let scene = Scene::new("silent").await;
    let (_endpoint, connection) = scene.connect().await;
    let started = Instant::now();
    tokio::time::timeout(PATIENCE, connection.closed()).await.expect("ends");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_page_cannot_drain_a_relay() {
    let scene = Scene::new("drain").await;
    let ask = |request| scene.ask(request);
    let got = ask("GET /drain HTTP/1.1\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.1 405 "), "{got}");
    let got = ask("POST /drain HTTP/1.1\r\nOrigin: https://example.com\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.1 405 "), "{got}");
    assert!(ask("GET /healthz HTTP/1.1\r\n\r\n").await.contains("200 OK"));
    let got = ask("POST /drain HTTP/1.1\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.1 202 "), "{got}");
    tokio::time::timeout(PATIENCE, scene.server.ended()).await.expect("it ends").expect("as told");
}
