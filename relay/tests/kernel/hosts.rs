//! A host of nodes: what runs there has its sockets there.

use std::fs::File;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netns_tests::Host;
use proto::relay::LaneOpened;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Runtime};

use super::client::{Client, Way};
use super::lane::{Lane, open};
use super::scene::{HOSTS, LANES, Machine, RELAYS, SOON, holder};

/// A host and the runtime whose threads are in it.
pub(crate) struct Remote {
    pub(crate) host: Host,
    pub(crate) side: usize,
    runtime: Option<Runtime>,
}

impl Remote {
    pub(crate) fn new(host: Host, side: usize) -> Self {
        let namespace = Arc::new(File::open(host.namespace_path()).expect("a namespace"));
        let enter = move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).expect("enters");
        };
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().on_thread_start(enter);
        Self { host, side, runtime: Some(builder.build().expect("a runtime")) }
    }

    /// Does this there.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let runtime = self.runtime.as_ref().expect("until it is dropped");
        runtime.spawn(work).await.expect("does not panic")
    }

    pub(crate) async fn client(&self, relay: &Machine, way: Way, node: u8) -> Client {
        let scene = relay.seen_from(self.side);
        self.run(async move { Client::new(&scene, way, holder(node)).await }).await
    }

    /// Binds an end of a lane.
    pub(crate) async fn bind(&self, opened: &LaneOpened, v6: bool) -> Lane {
        let family = usize::from(v6);
        let at = |ip: &str, port| SocketAddr::new(ip.parse().expect("an address"), port);
        let local = at(HOSTS[self.side][family], 0);
        let relay = at(RELAYS[self.side][family], LANES);
        let opened = opened.clone();
        self.run(async move { Lane::bind_at(&opened, local, relay).await }).await
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // A runtime may not be waited for where others run.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Two nodes, one on each host, and what they were told of their lane.
pub(crate) async fn pair(relay: &Machine, nodes: [u8; 2]) -> ([Client; 2], [LaneOpened; 2]) {
    let [left, right] = &relay.hosts;
    let mut a = left.client(relay, Way::Quic, nodes[0]).await;
    let mut b = right.client(relay, Way::Tls, nodes[1]).await;
    let ends = open(&mut a, &mut b).await;
    ([a, b], ends)
}

/// Two nodes with a lane, each end by IPv6 or not.
pub(crate) async fn lanes(
    relay: &Machine,
    nodes: [u8; 2],
    v6: [bool; 2],
) -> ([Client; 2], [Lane; 2]) {
    let (clients, [a, b]) = pair(relay, nodes).await;
    let left = relay.hosts[0].bind(&a, v6[0]).await;
    let right = relay.hosts[1].bind(&b, v6[1]).await;
    (clients, [left, right])
}

/// Sends by a lane until the kernel has switched so many packets: it knows the ways to the ends when
/// they have spoken.
pub(crate) async fn until_switched(relay: &Machine, [from, to]: [&mut Lane; 2], packets: u64) {
    let mut arrived = 0_u32;
    let deadline = Instant::now() + SOON;
    while arrived == 0 || relay.number("/counters/kernel_packets") < packets {
        assert!(Instant::now() < deadline, "{}", relay.status());
        from.transmit().await;
        to.transmit().await;
        from.send(b"switched").await;
        let received = tokio::time::timeout(Duration::from_millis(200), to.receive()).await;
        arrived += u32::from(received.is_ok_and(|packet| packet == b"switched"));
    }
}
