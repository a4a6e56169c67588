//! Certificates in files that change while the relay runs.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use relay::server::Options;

use super::client::{Client, Way};
use super::scene::{Relay, Scene, holder, options};

/// A directory that ends with its test.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
}

impl Directory {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("relay-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self { path }
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Best effort: it is in the system's directory for such things.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// The certificate that the relay says it has, when it is another than this.
pub(crate) async fn other_certificate(scene: &Scene, than: Option<&str>) -> Relay {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = scene.json().await;
        let sha256 = status["certificate"]["sha256"].as_str();
        if let Some(sha256) = sha256.filter(|sha256| Some(*sha256) != than) {
            return Relay { addresses: scene.addresses, fingerprint: sha256.to_owned() };
        }
        assert!(Instant::now() < deadline, "no certificate: {}", status["certificate"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A new certificate, which is to be written to the two files.
fn made() -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(vec!["relay.test".to_owned()]).expect("made");
    [made.cert.pem(), made.signing_key.serialize_pem()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_read_again_and_used_only_if_they_are_good() {
    let directory = Directory::new();
    let write = |[certificate, key]: [&str; 2]| {
        (directory.file("certificate.pem", certificate), directory.file("key.pem", key))
    };
    let [certificate, key] = made();
    let (certificate_file, key_file) = write([&certificate, &key]);
    let scene = Scene::with(Options {
        self_signed: None,
        certificate: Some(certificate_file),
        private_key: Some(key_file),
        ..options()
    })
    .await;
    let first = other_certificate(&scene, None).await;
    let mut client = Client::new(&first, Way::Tls, holder(1, 1)).await;
    let [certificate, key] = made();
    write([&certificate, &key]);
    let second = other_certificate(&scene, Some(&first.fingerprint)).await;
    for way in [Way::Tls, Way::Quic] {
        Client::new(&second, way, holder(1, 2)).await;
    }
    // As in the middle of a change: a key that is another certificate's.
    let [_, other] = made();
    write([&certificate, &other]);
    scene.until_within("/counters/certificate_failures", 1, Duration::from_secs(30)).await;
    let status = scene.json().await;
    assert_eq!(status["certificate"]["sha256"], second.fingerprint);
    let trouble = status["certificate"]["trouble"].to_string();
    assert!(trouble.contains("do not belong together"), "{trouble}");
    Client::new(&second, Way::Tls, holder(1, 2)).await;
    client.session.ping(1);
    client.flush().await;
    assert_eq!(client.event().await, relay_client::Event::Pong(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_has_expired_is_not_healthy_until_it_is_replaced() {
    let directory = Directory::new();
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut wanted = rcgen::CertificateParams::new(["relay.test".to_owned()]).expect("a name");
    wanted.not_before = rcgen::date_time_ymd(2019, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = wanted.self_signed(&key).expect("a certificate").pem();
    let certificate = directory.file("certificate.pem", &expired);
    let private_key = directory.file("key.pem", &key.serialize_pem());
    let options = Options {
        self_signed: None,
        certificate: Some(certificate),
        private_key: Some(private_key),
        ..options()
    };
    let config = options.clone().check().expect("a good configuration");
    let foretold = relay::server::foretell(&config).await.expect("it would run");
    assert!(foretold.contains("the certificate has expired"), "{foretold}");
    let scene = Scene::with(options).await;
    let page = scene.page("/healthz").await;
    assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("has expired"), "{page}");
    // Who knows it by its fingerprint is served on.
    let client = Client::new(&scene, Way::Tls, holder(1, 1)).await;
    wanted.not_after = rcgen::date_time_ymd(2100, 1, 1);
    directory.file("certificate.pem", &wanted.self_signed(&key).expect("a certificate").pem());
    other_certificate(&scene, Some(&scene.fingerprint)).await;
    let page = scene.page("/healthz").await;
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    drop(client);
}
