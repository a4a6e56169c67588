//! Echo requests (ICMP), and their answers.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Asks one host.
pub(crate) struct Echo {
    socket: Socket,
    to: SocketAddr,
    id: u16,
}

impl Echo {
    /// A raw socket: it takes `CAP_NET_RAW`.
    pub(crate) fn open(to: IpAddr, id: u16) -> io::Result<Self> {
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        let to = SocketAddr::from((to, 0));
        // Only its packets are received.
        socket.connect(&to.into())?;
        Ok(Self { socket, to, id })
    }

    /// Asks, and waits for the answer: how long it took, or nothing if none came in time.
    pub(crate) fn ask(&self, sequence: u16, patience: Duration) -> io::Result<Option<Duration>> {
        let asked = Instant::now();
        self.socket.send(&self.request(sequence))?;
        let mut buffer = [0; 2048];
        loop {
            let left = patience.saturating_sub(asked.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let len = match (&self.socket).read(&mut buffer) {
                Ok(len) => len,
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            if self.is_answer(&buffer[..len], sequence) {
                return Ok(Some(asked.elapsed()));
            }
        }
    }

    fn request(&self, sequence: u16) -> Vec<u8> {
        let kind = if self.to.is_ipv4() { 8 } else { 128 };
        let mut packet = vec![kind, 0, 0, 0];
        packet.extend(self.id.to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend(*b"nearwire ping...");
        // The kernel does that of ICMPv6.
        if self.to.is_ipv4() {
            let checksum = engine::checksum(&packet);
            packet[2..4].copy_from_slice(&checksum);
        }
        packet
    }

    fn is_answer(&self, packet: &[u8], sequence: u16) -> bool {
        // A raw IPv4 socket gives the IP header too.
        let (skip, kind) = match self.to {
            SocketAddr::V4(_) => (packet.first().map_or(0, |b| usize::from(b & 15) * 4), 0),
            SocketAddr::V6(_) => (0, 129),
        };
        let expected = [&self.id.to_be_bytes()[..], &sequence.to_be_bytes()].concat();
        packet.get(skip..).is_some_and(|icmp| {
            icmp.first() == Some(&kind) && icmp.get(4..8) == Some(&expected[..])
        })
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
