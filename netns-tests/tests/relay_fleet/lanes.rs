//! The ends of a node's lanes, all on one UDP socket.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use proto::key::PublicKey;
use proto::lane::LaneId;
use proto::relay::LaneOpened;
use relay_client::{ConnectionId, LaneEnd, LaneEvent};

/// A datagram, and who sent it.
pub(crate) type Datagram = (SocketAddr, Vec<u8>);

pub(crate) struct Lanes {
    socket: tokio::net::UdpSocket,
    ends: Vec<Lane>,
}

struct Lane {
    connection: ConnectionId,
    peer: PublicKey,
    relay: SocketAddr,
    end: LaneEnd,
}

impl Lanes {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: tokio::net::UdpSocket::from_std(socket)?, ends: Vec::new() })
    }

    pub(crate) fn open(&mut self, connection: ConnectionId, opened: &LaneOpened, now: Instant) {
        let Some(&relay) = opened.addresses.first() else { return };
        self.close(connection, opened.lane);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
        let nonce = u64::try_from(time).expect("fits for long");
        let end = LaneEnd::new(opened, nonce, now);
        self.ends.push(Lane { connection, peer: opened.peer, relay, end });
    }

    pub(crate) fn close(&mut self, connection: ConnectionId, lane: LaneId) {
        self.ends.retain(|end| end.connection != connection || end.end.id() != lane);
    }

    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.ends.retain(|end| end.connection != connection);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.ends.iter().filter_map(|lane| lane.end.poll_timeout()).min()
    }

    /// Sends what keeps lanes bound.
    pub(crate) fn transmit(&mut self) {
        for lane in &mut self.ends {
            while let Some(bytes) = lane.end.poll_transmit(Instant::now()) {
                // One that is lost is sent again.
                let _ = self.socket.try_send_to(&bytes, lane.relay);
            }
        }
    }

    pub(crate) fn send(&self, connection: ConnectionId, id: LaneId, packet: &[u8]) {
        let lane = self.ends.iter().find(|l| l.connection == connection && l.end.id() == id);
        if let Some(lane) = lane {
            let datagram = [&lane.end.header(), packet].concat();
            // A datagram that the host does not take is lost.
            let _ = self.socket.try_send_to(&datagram, lane.relay);
        }
    }

    pub(crate) async fn receive(&self) -> Datagram {
        let mut bytes = vec![0; 2048];
        loop {
            if let Ok((len, from)) = self.socket.recv_from(&mut bytes).await {
                bytes.truncate(len);
                return (from, bytes);
            }
        }
    }

    /// What a datagram means, and on which lane.
    pub(crate) fn take<'a>(
        &mut self,
        (from, bytes): &'a Datagram,
        now: Instant,
    ) -> Option<(ConnectionId, LaneId, PublicKey, LaneEvent<'a>)> {
        self.ends.iter_mut().filter(|lane| lane.relay == *from).find_map(|lane| {
            let event = lane.end.receive(bytes, now)?;
            Some((lane.connection, lane.end.id(), lane.peer, event))
        })
    }
}
