//! A node's end of a lane with a socket.

use std::net::SocketAddr;
use std::time::Instant;

use proto::relay::LaneOpened;
use relay_client::{Event, LaneEnd, LaneEvent};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::client::{Client, PATIENCE};

/// A bound end.
pub(crate) struct Lane {
    pub(crate) end: LaneEnd,
    pub(crate) socket: UdpSocket,
    pub(crate) relay: SocketAddr,
}

/// Opens a lane between two clients; what each was told of it.
pub(crate) async fn open(a: &mut Client, b: &mut Client) -> [LaneOpened; 2] {
    a.session.open_lane(b.key);
    a.flush().await;
    [opened(a).await, opened(b).await]
}

async fn opened(client: &mut Client) -> LaneOpened {
    match client.event().await {
        Event::LaneOpened(opened) => opened,
        other => panic!("instead of a lane: {other:?}"),
    }
}

impl Lane {
    /// Binds an end, by IPv4 or IPv6.
    pub(crate) async fn bind(opened: &LaneOpened, v6: bool) -> Self {
        let relay = opened.addresses.iter().find(|address| address.is_ipv6() == v6);
        let relay = *relay.expect("the relay has both families");
        let local = if v6 { "[::1]:0" } else { "127.0.0.1:0" };
        Self::bind_at(opened, local.parse().expect("an address"), relay).await
    }

    /// Binds an end at this address of ours to that of the relay.
    pub(crate) async fn bind_at(opened: &LaneOpened, local: SocketAddr, relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind(local).await.expect("a socket");
        let end = LaneEnd::new(opened, 1, Instant::now());
        let mut lane = Self { end, socket, relay };
        while !lane.end.is_bound() {
            lane.transmit().await;
            let bytes = lane.datagram().await;
            if let Some(LaneEvent::Bound(seen)) = lane.end.receive(&bytes, Instant::now()) {
                assert_eq!(seen, lane.socket.local_addr().expect("bound"));
            }
        }
        lane
    }

    pub(crate) async fn send(&self, packet: &[u8]) {
        let datagram = [&self.end.header()[..], packet].concat();
        self.socket.send_to(&datagram, self.relay).await.expect("sends");
    }

    pub(crate) async fn receive(&mut self) -> Vec<u8> {
        loop {
            let bytes = self.datagram().await;
            if let Some(LaneEvent::Packet(packet)) = self.end.receive(&bytes, Instant::now()) {
                return packet.to_vec();
            }
        }
    }

    /// The next datagram, from the relay only.
    pub(crate) async fn datagram(&self) -> Vec<u8> {
        let mut bytes = vec![0; 65_536];
        let received = timeout(PATIENCE, self.socket.recv_from(&mut bytes)).await.expect("in time");
        let (len, from) = received.expect("receives");
        assert_eq!(from, self.relay);
        bytes.truncate(len);
        bytes
    }

    pub(crate) async fn transmit(&mut self) {
        while let Some(bytes) = self.end.poll_transmit(Instant::now()) {
            self.socket.send_to(&bytes, self.relay).await.expect("sends");
        }
    }
}
