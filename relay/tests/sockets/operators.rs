//! What operators see.

use super::client::{Client, Way};
use super::scene::{Scene, holder};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_status_and_metrics_tell_what_is() {
    let scene = Scene::new().await;
    assert!(scene.page("/healthz").await.ends_with("\r\n\r\nok\n"));
    assert!(scene.page("/other").await.starts_with("HTTP/1.1 404 "));
    let mut a = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    let mut b = Client::new(&scene, Way::Tls, holder(1, 2)).await;
    a.session.home(true);
    a.flush().await;
    a.send(b.key, &[7; 300], 100).await;
    b.packets().await;
    scene.until("/totals/homes", 1).await;
    a.session.open_lane(a.key);
    a.flush().await;
    scene.until("/lanes_refused/oneself", 1).await;
    assert_eq!(scene.status("/totals/clients").await, 2);
    assert_eq!(scene.status("/counters/packets_in").await, 3);
    assert_eq!(scene.status("/counters/bytes_out").await, 300);
    let metrics = scene.page("/metrics").await;
    for line in [
        "nearwire_relay_clients{way=\"quic\"} 1",
        "nearwire_relay_clients{way=\"tls\"} 1",
        "nearwire_relay_packets_in_total 3",
        "nearwire_relay_drops_total{reason=\"peer_absent\"} 0",
        "nearwire_relay_lanes_refused_total{reason=\"oneself\"} 1",
        "nearwire_relay_refused_total{reason=\"expired_ticket\"} 0",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|got| got == line), "no {line:?} in\n{metrics}");
    }
    drop(a);
    scene.until("/totals/clients", 1).await;
}
