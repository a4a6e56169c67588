//! Certificates from pebble, the authority with which Let's Encrypt has clients tested.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use certificates::acme::{Acme, Said};
use control::clock::now;
use control::core::seal::SealKey;
use control::hub::Sweep;
use control::server::{Config, SealSource, Server, TlsSource};
use control::store::Store;
use rustls::pki_types::ServerName;
use sqlx::Row as _;
use throwaway_pebble::{Authority, EXTERNAL_ACCOUNT, Plan, free_address};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::scene::{Database, Directory, SEAL};

const NAME: &str = "control.test";
/// How long something may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(120);
const NINETY_DAYS: u64 = 7_776_000;

async fn authority(directory: &Directory, looks_at: SocketAddr, seconds: u64) -> Authority {
    let (path, listen) = (directory.0.clone(), free_address().unwrap());
    let start = move || Authority::start(&path, Plan { listen, looks_at, seconds });
    tokio::task::spawn_blocking(start).await.unwrap().unwrap()
}

fn asks(authority: &Authority) -> Acme {
    let said = Said {
        names: Some(vec!["Control.test".to_owned()]),
        contact: Some("admin@control.test".to_owned()),
        directory: Some(authority.directory()),
        root: Some(authority.root().to_owned()),
        eab_id: Some(EXTERNAL_ACCOUNT.0.to_owned()),
        eab_key: Some(authority.external_key().to_owned()),
    };
    said.check("listen", &|key| key.to_owned()).unwrap().unwrap()
}

fn config(database: &Database, acme: &Acme, listen: SocketAddr) -> Config {
    let mut config = database.config();
    config.listen.address = listen;
    config.tls = Some(TlsSource::Acme(acme.clone()));
    config
}

async fn start(config: Config) -> Server {
    Server::start_with(config, Sweep::default()).await.unwrap()
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// The SHA-256 of the certificate that a handshake is given.
async fn shown(address: SocketAddr) -> Option<String> {
    let connector = TlsConnector::from(Arc::new(tls_trust::anybody().unwrap()));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let stream = connector.connect(name, stream).await.ok()?;
    let certificate = &stream.get_ref().1.peer_certificates().unwrap()[0];
    Some(hex::encode(ring::digest::digest(&ring::digest::SHA256, certificate)))
}

/// The certificate that all of these show, when it is another than this.
async fn other_certificate(addresses: &[SocketAddr], than: Option<&str>) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let first = shown(addresses[0]).await;
        let mut all_the_same = true;
        for address in addresses {
            all_the_same &= shown(*address).await == first;
        }
        match first {
            Some(first) if all_the_same && Some(first.as_str()) != than => return first,
            first => assert!(Instant::now() < deadline, "no other than {than:?}: {first:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn page(server: &Server, path: &str) -> String {
    let operators = server.addresses().operators.unwrap();
    let http = control_client::http_client(&control_client::Trust::Host).unwrap();
    let answer = http.get(format!("http://{operators}{path}")).send().await.unwrap();
    answer.text().await.unwrap()
}

/// What a page says when it says this.
async fn until(server: &Server, path: &str, what: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = page(server, path).await;
        if said.contains(what) {
            return said;
        }
        assert!(Instant::now() < deadline, "{path} does not say {what:?}: {said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Names of secrets in the database that begin so.
async fn secrets(store: &Store, begin: &str) -> Vec<String> {
    let all = sqlx::query("SELECT name FROM secrets").fetch_all(store.pool()).await.unwrap();
    let names = all.iter().map(|row| row.get::<String, _>(0));
    names.filter(|name| name.starts_with(begin)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_got_that_the_authority_vouches_for_and_is_renewed() {
    let (directory, database) = (Directory::new(), Database::sqlite());
    let listen = free_address().unwrap();
    let authority = authority(&directory, listen, 15).await;
    let server = start(config(&database, &asks(&authority), listen)).await;
    let first = other_certificate(&[listen], None).await;

    let trust = |pem: &[u8]| {
        let root = reqwest::Certificate::from_pem(pem).unwrap();
        reqwest::Client::builder().tls_certs_only([root]).resolve(NAME, listen).build().unwrap()
    };
    let root = std::fs::read(authority.root()).unwrap();
    let voucher = trust(&root).get(authority.voucher()).send().await.unwrap();
    let client = trust(&voucher.bytes().await.unwrap());
    let answer = client.get(format!("https://{NAME}:{}/healthz", listen.port())).send().await;
    assert_eq!(answer.unwrap().text().await.unwrap(), "ok\n");

    other_certificate(&[listen], Some(&first)).await;
    let metrics = page(&server, "/metrics").await;
    assert!(metrics.contains("nearwire_control_certificate_failures_total 0"), "{metrics}");
    assert!(metrics.contains("nearwire_control_certificate_not_after_seconds 1"), "{metrics}");
    assert_eq!(page(&server, "/readyz").await, "ready\n");
    server.drain(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_ordered_anew_after_a_restart_another_seal_key_or_a_restored_backup() {
    let (directory, database) = (Directory::new(), Database::sqlite());
    let listen = free_address().unwrap();
    let authority = authority(&directory, listen, NINETY_DAYS).await;
    let acme = asks(&authority);
    let server = start(config(&database, &acme, listen)).await;
    let first = other_certificate(&[listen], None).await;
    server.drain(Duration::ZERO).await;
    // From here on nobody can be asked.
    drop(authority);
    let is_there = async |config: Config| {
        let server = start(config).await;
        assert_eq!(shown(server.addresses().api).await.as_deref(), Some(first.as_str()));
        assert_eq!(page(&server, "/readyz").await, "ready\n");
        server.drain(Duration::ZERO).await;
    };
    is_there(config(&database, &acme, any())).await;

    let other_seal = BASE64_STANDARD.encode([9; 32]);
    let store = Store::open(&database.url).await.unwrap();
    let [old, new] = [SEAL, &other_seal].map(|text| SealKey::parse(text).unwrap());
    assert_eq!(store.rekey(&old, &new, now()).await.unwrap(), 4, "account and certificate, too");
    let kept: Vec<String> = sqlx::query("SELECT name || sealed FROM secrets")
        .fetch_all(store.pool())
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(kept.iter().all(|text| !text.contains("PRIVATE KEY")), "it is sealed");
    store.close().await;
    let seal = || SealSource::Text(Zeroizing::new(other_seal.clone()));
    is_there(Config { seal: seal(), ..config(&database, &acme, any()) }).await;

    let backup = directory.0.join("backup");
    let restored = Database::sqlite();
    for (command, database) in [("backup", &database), ("restore", &restored)] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_nearwire-control"));
        run.args([command, "--database", &database.url]).arg(&backup);
        let done = run.env("NEARWIRE_CONTROL_SEAL_KEY", &other_seal).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    is_there(Config { seal: seal(), ..config(&restored, &acme, any()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_why_and_keeps_the_old_certificate() {
    let (directory, database) = (Directory::new(), Database::sqlite());
    let listen = free_address().unwrap();
    let authority = authority(&directory, listen, 15).await;
    let server = start(config(&database, &asks(&authority), listen)).await;
    let first = other_certificate(&[listen], None).await;
    drop(authority);
    let said = until(&server, "/readyz", "ready, with the old certificate").await;
    assert!(said.contains("a certificate for control.test from https://"), "{said}");
    assert!(said.contains("reaching the directory"), "{said}");
    let metrics = page(&server, "/metrics").await;
    assert!(metrics.contains("nearwire_control_certificate_failures_total 1"), "{metrics}");
    assert_eq!(shown(listen).await.as_deref(), Some(first.as_str()));
    server.drain(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_proven_gets_nothing_and_operators_are_told() {
    let (directory, database) = (Directory::new(), Database::sqlite());
    // The authority looks where nobody is.
    let authority = authority(&directory, free_address().unwrap(), NINETY_DAYS).await;
    let server = start(config(&database, &asks(&authority), any())).await;
    let said = until(&server, "/readyz", "was not proven").await;
    assert!(said.contains("control.test was not proven"), "{said}");
    assert!(said.contains("must reach `listen` at port 443"), "{said}");
    assert_eq!(shown(server.addresses().api).await, None);
    let store = server.app().store();
    let deadline = Instant::now() + PATIENCE;
    while !secrets(store, "acme-proof").await.is_empty() {
        assert!(Instant::now() < deadline, "a proof stays in the database");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(secrets(store, "acme-account").await.len(), 1);
    server.drain(Duration::ZERO).await;
}

/// Sends everybody to the instance that does not order.
async fn elsewhere(
    listener: TcpListener,
    store: Store,
    instances: [(String, SocketAddr); 2],
    sent: Arc<AtomicU32>,
) {
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        let turn = sqlx::query("SELECT instance FROM turns").fetch_one(store.pool()).await.unwrap();
        let orders: String = turn.get(0);
        let other = instances.iter().find(|(instance, _)| *instance != orders).unwrap().1;
        assert!(instances.iter().any(|(instance, _)| *instance == orders));
        sent.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let mut to = TcpStream::connect(other).await.unwrap();
            // Who hangs up first is their business.
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_reaches_the_other_instance_is_answered_and_both_use_what_it_gives() {
    let (directory, database) = (Directory::new(), Database::postgres().await);
    let listener = TcpListener::bind(any()).await.unwrap();
    let authority = authority(&directory, listener.local_addr().unwrap(), 15).await;
    let acme = asks(&authority);
    let servers = [
        start(config(&database, &acme, any())).await,
        start(config(&database, &acme, any())).await,
    ];
    let instances = servers
        .each_ref()
        .map(|server| (server.app().hub().instance().to_owned(), server.addresses().api));
    let addresses = instances.each_ref().map(|(_, address)| *address);
    let store = servers[0].app().store().clone();
    let sent = Arc::new(AtomicU32::new(0));
    let balancer = tokio::spawn(elsewhere(listener, store.clone(), instances, sent.clone()));
    let first = other_certificate(&addresses, None).await;
    assert!(sent.load(Ordering::Relaxed) > 0, "the authority looked at the other one");
    assert_eq!(secrets(&store, "acme-account").await.len(), 1);
    let second = other_certificate(&addresses, Some(&first)).await;
    assert_eq!(secrets(&store, "acme-certificate").await.len(), 1);
    for server in &servers {
        let metrics = page(server, "/metrics").await;
        assert!(metrics.contains("nearwire_control_certificate_failures_total 0"), "{metrics}");
    }
    assert_ne!(first, second);
    balancer.abort();
    for server in servers {
        server.drain(Duration::ZERO).await;
    }
}

#[test]
fn what_is_said_of_tls_is_looked_at() {
    let directory = Directory::new();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = directory.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let wrong = [
        ("acme-names = ['a.b']\nbehind-proxy = true", "`acme-names` and `behind-proxy` exclude"),
        ("acme-names = ['a.b']\ncertificate = '/c'", "`acme-names` and `certificate` exclude"),
        ("acme-names = ['a.b']\nprivate-key = '/k'", "`acme-names` and `private-key` exclude"),
        ("certificate = '/c'", "name the file with its key"),
        ("private-key = '/k'", "name the file with its certificate"),
        ("acme-contact = 'a@b.c'", "`acme-contact` is set but `acme-names` is not"),
        ("acme-names = ['192.0.2.1']", "host names only"),
        ("acme-names = ['a.b']\nacme-directory = 'http://ca'", "over https:// only"),
        ("acme-names = ['a.b']\nacme-eab-id = 'kid'", "`acme-eab-key` is not"),
        ("listen = '0.0.0.0:443'", "or `acme-names`, or `behind-proxy`"),
    ];
    for (number, (text, expected)) in wrong.into_iter().enumerate() {
        let file = file(&format!("{number}.toml"), text);
        let mut check = Command::new(env!("CARGO_BIN_EXE_nearwire-control"));
        let said = check.arg("check").arg(file).output().unwrap();
        let error = String::from_utf8_lossy(&said.stderr);
        assert!(!said.status.success() && error.contains(expected), "{text}: {error}");
    }
}
