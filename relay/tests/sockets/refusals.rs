//! Who is not served, and what it is told.

use std::time::Duration;

use proto::relay::Refusal;
use proto::ticket::{ControlKeyId, NetworkId, SigningKey, Ticket, UnixSeconds};
use relay::core::Members;
use relay_client::{Event, SessionError};

use super::client::{Client, Way};
use super::scene::{Holder, Relay, Scene, control_key, holder, options, signing_key, ticket, wall};

async fn refused(relay: &Relay, way: Way, holder: Holder) -> Refusal {
    match Client::try_new(relay, way, holder).await {
        Err(SessionError::Refused(why)) => why,
        Err(other) => panic!("instead of a refusal: {other}"),
        Ok(_) => panic!("it was admitted"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tickets_are_refused_with_the_reason() {
    let scene = Scene::new().await;
    let signed = |ticket: Ticket, id, key: SigningKey| Holder {
        ticket: ticket.sign(ControlKeyId(id), &key),
        ..holder(1, 1)
    };
    let old = Ticket { not_after: UnixSeconds(wall().0 - 1), ..ticket(1, 1) };
    for way in [Way::Quic, Way::Tls] {
        let expired = signed(old, 1, control_key());
        assert_eq!(refused(&scene, way, expired).await, Refusal::ExpiredTicket);
        let forged = signed(ticket(1, 1), 1, signing_key(9));
        assert_eq!(refused(&scene, way, forged).await, Refusal::ForgedTicket);
        let unknown = signed(ticket(1, 1), 7, control_key());
        assert_eq!(refused(&scene, way, unknown).await, Refusal::UnknownControlKey);
        // Somebody else's ticket.
        let stolen = Holder { identity: signing_key(2), ..holder(1, 1) };
        assert_eq!(refused(&scene, way, stolen).await, Refusal::BadProof);
    }
    for why in ["expired_ticket", "forged_ticket", "unknown_control_key", "bad_proof"] {
        assert_eq!(scene.status(&format!("/refused/{why}")).await, 2, "{why}");
    }
    assert_eq!(scene.status("/totals/clients").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_network_is_out_of_reach() {
    let scene = Scene::new().await;
    let mut a = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    let b = Client::new(&scene, Way::Tls, holder(2, 2)).await;
    a.send(b.key, b"hello", 5).await;
    assert_eq!(a.event().await, Event::PeerGone(b.key));
    a.session.open_lane(b.key);
    a.flush().await;
    assert!(matches!(a.event().await, Event::LaneRefused(..)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_ends_with_the_ticket_and_goes_on_with_a_new_one() {
    let scene = Scene::new().await;
    for way in [Way::Quic, Way::Tls] {
        let short = |node| {
            let ticket = Ticket { not_after: UnixSeconds(wall().0 + 2), ..ticket(1, node) };
            Holder { ticket: ticket.sign(ControlKeyId(1), &control_key()), ..holder(1, node) }
        };
        let mut a = Client::new(&scene, way, short(1)).await;
        let mut b = Client::new(&scene, way, short(2)).await;
        b.session.renew(holder(1, 2).ticket);
        b.flush().await;
        let Event::Admitted(welcome) = b.event().await else { panic!("no new welcome") };
        assert!(welcome.until.0 > a.welcome.until.0);
        let over = a.next().await;
        assert_eq!(over, Err(SessionError::Refused(Refusal::ExpiredTicket)));
        b.session.ping(5);
        b.flush().await;
        assert_eq!(b.event().await, Event::Pong(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_connection_takes_over() {
    let scene = Scene::new().await;
    let mut first = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    let mut second = Client::new(&scene, Way::Tls, holder(1, 1)).await;
    assert_eq!(first.next().await, Err(SessionError::Refused(Refusal::Replaced)));
    let mut other = Client::new(&scene, Way::Tls, holder(1, 2)).await;
    other.send(second.key, b"hello", 5).await;
    assert_eq!(second.packets().await.1, b"hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_relay_says_so() {
    let scene = Scene::with(relay::server::Options { clients: Some(1), ..options() }).await;
    let _first = Client::new(&scene, Way::Tls, holder(1, 1)).await;
    assert_eq!(refused(&scene, Way::Quic, holder(1, 2)).await, Refusal::Full);
    assert_eq!(refused(&scene, Way::Tls, holder(1, 2)).await, Refusal::Full);
    assert_eq!(scene.status("/refused/full").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_is_told_first_and_ends() {
    let scene = Scene::new().await;
    let mut clients = [
        Client::new(&scene, Way::Quic, holder(1, 1)).await,
        Client::new(&scene, Way::Tls, holder(1, 2)).await,
    ];
    let Scene { server, relay } = scene;
    let drained = tokio::spawn(server.drain(Duration::from_secs(3)));
    for client in &mut clients {
        assert_eq!(client.event().await, Event::Drain(Duration::from_secs(3)));
    }
    // Nobody is sent here any more, and who comes is told why.
    assert!(relay.page("/healthz").await.starts_with("HTTP/1.1 503 "));
    for way in [Way::Quic, Way::Tls] {
        assert_eq!(refused(&relay, way, holder(1, 3)).await, Refusal::Draining);
    }
    assert_eq!(relay.status("/refused/draining").await, 2);
    // Until the end it serves.
    let [a, b] = &mut clients;
    a.send(b.key, b"still", 5).await;
    assert_eq!(b.packets().await.1, b"still");
    for client in &mut clients {
        let over = client.next().await;
        assert_eq!(over, Err(SessionError::Refused(Refusal::Draining)));
    }
    tokio::time::timeout(Duration::from_secs(10), drained)
        .await
        .expect("in time")
        .expect("ends")
        .expect("as told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_of_one_network_serves_those_whom_it_is_granted_to() {
    let members = |nodes: &[u8]| Members {
        network: NetworkId([1; 16]),
        nodes: nodes.iter().map(|node| holder(1, *node).key).collect(),
    };
    let mut config = options().check().unwrap();
    config.settings.members = Some(members(&[1, 2]));
    config.quic = None;
    let scene = Scene::of(config).await;
    let mut a = Client::new(&scene, Way::Tls, holder(1, 1)).await;
    let mut b = Client::new(&scene, Way::Tls, holder(1, 2)).await;
    assert_eq!(refused(&scene, Way::Tls, holder(1, 3)).await, Refusal::NotGranted);
    // The same key in another network is another node.
    assert_eq!(refused(&scene, Way::Tls, holder(2, 1)).await, Refusal::NotGranted);
    a.session.open_lane(b.key);
    a.flush().await;
    assert!(matches!(a.event().await, Event::LaneOpened(..)));
    assert!(matches!(b.event().await, Event::LaneOpened(..)));

    scene.server.serve_only(members(&[2, 3])).await;
    assert!(matches!(a.next().await, Err(SessionError::Refused(Refusal::NotGranted))));
    assert!(matches!(b.event().await, Event::LaneClosed(..)));
    let _c = Client::new(&scene, Way::Tls, holder(1, 3)).await;
    assert_eq!(refused(&scene, Way::Tls, holder(1, 1)).await, Refusal::NotGranted);
    let summary = scene.server.summary().await.unwrap();
    assert_eq!((summary.clients, summary.lanes), (2, 0));
    let refused: Vec<_> = summary.refused.into_iter().filter(|(_, count)| *count > 0).collect();
    // Three at the door, and one whose service was ended.
    assert_eq!(refused, [(Refusal::NotGranted.label(), 4)]);
}
