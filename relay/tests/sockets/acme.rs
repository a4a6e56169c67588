//! A certificate from pebble, the authority with which Let's Encrypt has clients tested.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use relay::server::Options;

use super::certificates::{Directory, other_certificate};
use super::client::{Client, PATIENCE, Way};
use super::scene::{Scene, holder, options};

const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// Ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A certificate authority, and a name server that knows every name as this machine.
struct Authority {
    listen: SocketAddr,
    root: PathBuf,
    _running: [Running; 2],
}

/// A port that is free now.
fn port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("bound")
}

fn start(command: &mut Command) -> Running {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Running(child.expect("Debian's package pebble is installed (`cargo xtask test` does)"))
}

impl Authority {
    /// Starts one that looks at this port, and gives certificates for so long.
    fn new(directory: &Directory, listen: SocketAddr, looks_at: SocketAddr, seconds: u64) -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let root = directory.file("root.pem", &made.cert.pem());
        let key = directory.file("root-key.pem", &made.signing_key.serialize_pem());
        let (dns, management) = (port(), port());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": listen,
            "managementListenAddress": port(),
            "certificate": root,
            "privateKey": key,
            "httpPort": 5002,
            "tlsPort": looks_at.port(),
            "externalAccountBindingRequired": true,
            "externalAccountMACKeys": { "kid-1": EAB_KEY },
            "certificateValidityPeriod": seconds,
        }});
        let config = directory.file("pebble.json", &config.to_string());
        let dns_text = dns.to_string();
        let running = [
            start(Command::new("pebble-challtestsrv").args([
                "-dns01",
                &dns_text,
                "-management",
                &management.to_string(),
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ])),
            start(
                Command::new("pebble")
                    .arg("-config")
                    .arg(config)
                    .args(["-dnsserver", &dns_text])
                    .env("PEBBLE_VA_NOSLEEP", "1"),
            ),
        ];
        for listens in [dns, listen] {
            let deadline = Instant::now() + PATIENCE;
            while TcpStream::connect(listens).is_err() {
                assert!(Instant::now() < deadline, "nothing listens on {listens}");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Self { listen, root, _running: running }
    }

    /// A relay that asks this authority.
    fn options(&self, directory: &Directory, tls: SocketAddr) -> Options {
        Options {
            tls: Some(tls),
            self_signed: None,
            acme_names: Some(vec!["Relay.test".to_owned()]),
            acme_state: Some(state(directory)),
            acme_contact: Some("admin@relay.test".to_owned()),
            acme_directory: Some(format!("https://{}/dir", self.listen)),
            acme_root: Some(self.root.clone()),
            acme_eab_id: Some("kid-1".to_owned()),
            acme_eab_key: Some(directory.file("eab", EAB_KEY)),
            ..options()
        }
    }
}

fn state(directory: &Directory) -> PathBuf {
    directory.path.join("state")
}

fn rights(path: &Path) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_got_and_renewed_while_clients_stay() {
    let directory = Directory::new();
    let tls = port();
    let authority = Authority::new(&directory, port(), tls, 12);
    let scene = Scene::with(authority.options(&directory, tls)).await;
    assert_eq!(scene.server.fingerprint(), None);
    let first = other_certificate(&scene, None).await;
    let mut clients = [
        Client::new(&first, Way::Tls, holder(1, 1)).await,
        Client::new(&first, Way::Quic, holder(1, 2)).await,
    ];
    let metrics = scene.page("/metrics").await;
    assert!(metrics.contains("nearwire_relay_certificate_not_after_seconds 1"), "{metrics}");
    let renewed = other_certificate(&scene, Some(&first.fingerprint)).await;
    for (way, node) in [(Way::Tls, 3), (Way::Quic, 4)] {
        Client::new(&renewed, way, holder(1, node)).await;
    }
    for client in &mut clients {
        client.session.ping(1);
        client.flush().await;
        assert_eq!(client.event().await, relay_client::Event::Pong(1));
    }
    // What an authority looked at is no failed connection.
    assert_eq!(scene.status("/counters/failed").await, 0);
    assert_eq!(scene.status("/counters/certificate_failures").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_got_is_kept_for_our_eyes_and_an_account_may_be_forgotten() {
    let directory = Directory::new();
    let (listen, tls) = (port(), port());
    let authority = Authority::new(&directory, listen, tls, 7_776_000);
    let options = authority.options(&directory, tls);
    let scene = Scene::with(options.clone()).await;
    let first = other_certificate(&scene, None).await;
    scene.server.drain(Duration::ZERO).await;
    drop(authority);
    assert_eq!(rights(&state(&directory)), 0o700);
    let kept: Vec<_> = std::fs::read_dir(state(&directory))
        .expect("is there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept.iter().all(|file| rights(file) == 0o600), "{kept:?}");
    // Nobody is asked for what is there.
    let scene = Scene::with(options.clone()).await;
    assert_eq!(scene.server.fingerprint(), Some(&*first.fingerprint));
    Client::new(&first, Way::Tls, holder(1, 1)).await;
    scene.server.drain(Duration::ZERO).await;
    // An authority that knows nothing of our account makes a new one.
    let certificate = kept.iter().find(|file| file.extension().is_some_and(|kind| kind == "pem"));
    std::fs::remove_file(certificate.expect("a certificate")).expect("removes it");
    let again = Authority::new(&directory, listen, tls, 7_776_000);
    let scene = Scene::with(again.options(&directory, tls)).await;
    assert_eq!(scene.server.fingerprint(), None);
    let second = other_certificate(&scene, Some(&first.fingerprint)).await;
    Client::new(&second, Way::Tls, holder(1, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_cannot_be_proven_is_told_to_operators() {
    let directory = Directory::new();
    let tls = port();
    // The authority looks where nobody is.
    let authority = Authority::new(&directory, port(), port(), 7_776_000);
    let scene = Scene::with(authority.options(&directory, tls)).await;
    assert!(scene.page("/healthz").await.starts_with("HTTP/1.1 503 "));
    scene.until("/counters/certificate_failures", 1).await;
    let trouble = scene.json().await["certificate"]["trouble"].to_string();
    assert!(trouble.contains("relay.test was not proven"), "{trouble}");
    assert!(trouble.contains("`tls` at port 443"), "{trouble}");
    // And nobody is given a certificate that proves nothing.
    let stream = tokio::net::TcpStream::connect(tls).await.expect("connects");
    assert!(super::client::handshake(&scene, stream).await.is_err());
}
