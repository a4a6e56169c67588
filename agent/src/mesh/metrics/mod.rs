//! The node's page for Prometheus, on request: `/metrics` over plain HTTP.

mod numbers;
mod relaying;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::rpc::{Call, Reply, Request};
use super::status::{PeerStatus, Status};
use numbers::{Number, Numbers};

/// Scrapes at one time.
const AT_ONCE: usize = 8;
/// How long one may take.
const TIME: Duration = Duration::from_secs(5);
/// The longest head of a request.
const HEAD: usize = 8 << 10;
/// A session of WireGuard ends so long after its handshake.
const SESSION: u64 = 180;

/// Listens at an address.
pub(super) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for --metrics; is it another's?"))
}

/// Answers for ever, by what the daemon says.
pub(super) async fn serve(listener: TcpListener, calls: mpsc::Sender<Call>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // Who comes when all places are taken waits in the listener's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    // Late or gone: nobody to tell.
                    let _ = timeout(TIME, answer(stream, &calls)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "taking a connection for metrics failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, calls: &mpsc::Sender<Call>) -> anyhow::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let path = loop {
        if stream.read_buf(&mut head).await? == 0 || head.len() > HEAD {
            bail!("no request");
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        if request.parse(&head)?.is_complete() {
            break request.path.unwrap_or_default().to_owned();
        }
    };
    let (status, body) = match path.as_str() {
        "/metrics" => match page(ask(calls).await?) {
            Ok(text) => ("200 OK", text),
            Err(error) => ("500 Internal Server Error", format!("{error:#}\n")),
        },
        _ => ("404 Not Found", "/metrics\n".to_owned()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\n\
         Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn ask(calls: &mpsc::Sender<Call>) -> anyhow::Result<Status> {
    let (replies, mut inbox) = mpsc::channel(1);
    calls.send((Request::Status, replies)).await.context("the daemon ends")?;
    match inbox.recv().await {
        Some(Reply::Status(status)) => Ok(*status),
        _ => bail!("the daemon does not say how it is"),
    }
}

/// The text of a scrape.
fn page(status: Status) -> anyhow::Result<String> {
    let mut registry = Registry::with_prefix("nearwire");
    registry.register_collector(Box::new(Scraped(status)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).context("writing metrics")?;
    Ok(text)
}

#[derive(Debug)]
struct Scraped(Status);

impl Scraped {
    fn gauges(&self) -> [Number; 6] {
        let status = &self.0;
        let is = |holds: bool| u64::from(holds);
        let lives = |peer: &&PeerStatus| peer.handshake.is_some_and(|seconds| seconds < SESSION);
        let sessions = status.peers.iter().filter(lives).count();
        [
            ("up", "1 while the node has an interface", is(!status.interface.is_empty())),
            ("control_connected", "1 while the control plane is there", is(status.is_connected())),
            ("netmap_revision", "The state of the network in force", status.revision),
            ("policy_generation", "The policy in the kernel", status.generation.into()),
            ("sessions", "Peers whose last handshake is no older than a session", count(sessions)),
            ("warnings", "What could not be done; nearwire status says it", {
                count(status.warnings.len() + status.refused_routes.len())
            }),
        ]
    }

    fn counters(&self) -> [Number; 10] {
        let peers = || self.0.peers.iter();
        let (flows, paths) = (&self.0.flows, &self.0.paths);
        [
            ("path_searches", "Searches for direct ways", paths.searches),
            ("path_calls", "Calls of peers by relays", paths.calls),
            ("path_pings", "Pings on direct ways", paths.pings),
            ("path_port_searches", "Searches of a hard NAT's ports", paths.birthdays),
            ("path_changes", "Changes of ways to peers", paths.changes),
            ("port_mapping_requests", "Times the router was asked to let peers in", {
                self.0.mapping.asked
            }),
            ("sent_bytes", "Bytes sent to peers", peers().map(|peer| peer.sent).sum()),
            ("received_bytes", "Bytes from peers", peers().map(|peer| peer.received).sum()),
            ("flow_events_missed", "Flow events that came too fast to be seen", flows.missed),
            ("flows_not_reported", "Of flows to be told, those there was no room for", flows.lost),
        ]
    }

    /// Peers by the path to them.
    fn paths(&self) -> [(&'static str, u64); 6] {
        ["direct", "peer-relay", "lane", "QUIC", "TLS", "none"].map(|path| {
            let by = |peer: &&PeerStatus| match peer.path.as_str() {
                "relay" => peer.carrier.as_deref() == Some(path),
                other => other == path,
            };
            (path, count(self.0.peers.iter().filter(by).count()))
        })
    }
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let status = &self.0;
        let mut numbers = Numbers(&mut encoder);
        numbers.gauges_by(("peers", "Peers, by the path to them", "path"), self.paths())?;
        if let Some(home) = &status.relay {
            let help = "1 for what carries the connection to the home relay";
            numbers.gauges_by(("relay_connected", help, "carrier"), [(&*home.carrier, 1)])?;
        }
        if let Some(method) = &status.mapping.method {
            let help = "1 for what the router's mapping was granted by";
            numbers.gauges_by(("port_mapped", help, "method"), [(&**method, 1)])?;
        }
        numbers.gauges(self.gauges())?;
        numbers.counters(self.counters())?;
        let drops = status.drops.iter().map(|(reason, count)| (reason.as_str(), *count));
        let help = "Packets that were dropped, by the reason";
        numbers.counters_by(("dropped_packets", help, "reason"), drops)?;
        let help = "Mappings that the router has granted or renewed";
        for (name, help, label, counts) in [
            ("paths_found", "Direct ways that were taken", "origin", &status.paths.found),
            ("port_mappings", help, "method", &status.mapping.granted),
            ("probes_refused", "Probes that were refused", "reason", &status.paths.refused),
        ] {
            let counts = counts.iter().map(|(of, count)| (of.as_str(), *count));
            numbers.counters_by((name, help, label), counts)?;
        }
        let flows = &status.flows;
        let events = [("start", flows.started), ("end", flows.ended), ("denied", flows.denied)];
        numbers.counters_by(("flow_events", "What became of flows", "event"), events)?;
        match &status.peer_relay {
            Some(relay) => relaying::encode(relay, &mut numbers),
            None => Ok(()),
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::peer_relay::PeerRelayStatus;
    use crate::mesh::relay::RelayHome;

    #[test]
    fn a_scrape_shows_paths_drops_and_the_relay() {
        let carrier = "QUIC".to_owned();
        let home = RelayHome { region: 1, relay: "relay.test".into(), carrier: carrier.clone() };
        let mut status = Status {
            state: "connected".into(),
            interface: "nearwire0".into(),
            revision: 7,
            relay: Some(home),
            ..Status::default()
        };
        let peer = PeerStatus { path: "relay".into(), ..PeerStatus::default() };
        status.peers.push(PeerStatus {
            carrier: Some("lane".into()),
            sent: 5,
            handshake: Some(9),
            ..peer.clone()
        });
        status.peers.push(PeerStatus { path: "direct".into(), sent: 6, ..peer });
        status.drops.insert("denied".into(), 3);
        let text = page(status).unwrap();
        for line in [
            "nearwire_peers{path=\"lane\"} 1",
            "nearwire_peers{path=\"direct\"} 1",
            "nearwire_peers{path=\"TLS\"} 0",
            "nearwire_sent_bytes_total 11",
            "nearwire_sessions 1",
            "nearwire_netmap_revision 7",
            "nearwire_control_connected 1",
            "nearwire_relay_connected{carrier=\"QUIC\"} 1",
            "nearwire_dropped_packets_total{reason=\"denied\"} 3",
            "nearwire_flow_events_total{event=\"start\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn a_scrape_of_a_node_that_relays_shows_what_it_carries_and_whom_it_refuses() {
        assert!(!page(Status::default()).unwrap().contains("peer_relay"));
        let relay = PeerRelayStatus {
            port: 1,
            granted: 2,
            clients: 2,
            lanes: 1,
            bound: 2,
            packets: 7,
            bytes: 700,
            refused: [("not_granted".to_owned(), 3)].into(),
            ..PeerRelayStatus::default()
        };
        let status = |relay| Status { peer_relay: Some(relay), ..Status::default() };
        let text = page(status(relay.clone())).unwrap();
        for line in [
            "nearwire_peer_relay_up 1",
            "nearwire_peer_relay_granted 2",
            "nearwire_peer_relay_clients 2",
            "nearwire_peer_relay_lanes 1",
            "nearwire_peer_relay_lane_ends_bound 2",
            "nearwire_peer_relay_packets_total 7",
            "nearwire_peer_relay_bytes_total 700",
            "nearwire_peer_relay_kernel_packets_total 0",
            "nearwire_peer_relay_switch{by=\"xdp\"} 0",
            "nearwire_peer_relay_switch{by=\"userspace\"} 1",
            "nearwire_peer_relay_refused_total{reason=\"not_granted\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let ended = PeerRelayStatus { trouble: Some("no port".to_owned()), ..relay };
        assert!(page(status(ended)).unwrap().contains("nearwire_peer_relay_up 0"));
    }
}
