//! A certificate from pebble, the authority with which Let's Encrypt has clients tested.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use relay::server::Options;
use throwaway_pebble::{Authority, EXTERNAL_ACCOUNT, Plan, free_address};

use super::certificates::{Directory, other_certificate};
use super::client::{Client, Way};
use super::scene::{Scene, holder, options};

/// A port that is free now.
fn port() -> SocketAddr {
    free_address().expect("a port")
}

fn authority(directory: &Directory, plan: Plan) -> Authority {
    Authority::start(&directory.path, plan).expect("a certificate authority")
}

/// A relay that asks this authority.
fn asks(authority: &Authority, directory: &Directory, tls: SocketAddr) -> Options {
    Options {
        tls: Some(tls),
        self_signed: None,
        acme_names: Some(vec!["Relay.test".to_owned()]),
        acme_state: Some(state(directory)),
        acme_contact: Some("admin@relay.test".to_owned()),
        acme_directory: Some(authority.directory()),
        acme_root: Some(authority.root().to_owned()),
        acme_eab_id: Some(EXTERNAL_ACCOUNT.0.to_owned()),
        acme_eab_key: Some(authority.external_key().to_owned()),
        ..options()
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
    let authority = authority(&directory, Plan { listen: port(), looks_at: tls, seconds: 12 });
    let scene = Scene::with(asks(&authority, &directory, tls)).await;
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
    let plan = Plan { listen, looks_at: tls, seconds: 7_776_000 };
    let first_authority = authority(&directory, plan);
    let options = asks(&first_authority, &directory, tls);
    let scene = Scene::with(options.clone()).await;
    let first = other_certificate(&scene, None).await;
    scene.server.drain(Duration::ZERO).await.expect("it ends as told");
    drop(first_authority);
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
    scene.server.drain(Duration::ZERO).await.expect("it ends as told");
    // An authority that knows nothing of our account makes a new one.
    let certificate = kept.iter().find(|file| file.extension().is_some_and(|kind| kind == "pem"));
    std::fs::remove_file(certificate.expect("a certificate")).expect("removes it");
    let again = authority(&directory, plan);
    let scene = Scene::with(asks(&again, &directory, tls)).await;
    assert_eq!(scene.server.fingerprint(), None);
    let second = other_certificate(&scene, Some(&first.fingerprint)).await;
    Client::new(&second, Way::Tls, holder(1, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_cannot_be_proven_is_told_to_operators() {
    let directory = Directory::new();
    let tls = port();
    // The authority looks where nobody is.
    let authority =
        authority(&directory, Plan { listen: port(), looks_at: port(), seconds: 7_776_000 });
    let scene = Scene::with(asks(&authority, &directory, tls)).await;
    assert!(scene.page("/healthz").await.starts_with("HTTP/1.1 503 "));
    scene.until("/counters/certificate_failures", 1).await;
    let trouble = scene.json().await["certificate"]["trouble"].to_string();
    assert!(trouble.contains("relay.test was not proven"), "{trouble}");
    assert!(trouble.contains("`tls` at port 443"), "{trouble}");
    // And nobody is given a certificate that proves nothing.
    let stream = tokio::net::TcpStream::connect(tls).await.expect("connects");
    assert!(super::client::handshake(&scene, stream).await.is_err());
}
