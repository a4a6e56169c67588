//! Which shard a datagram comes to. All shards have the same port, and the kernel chooses one by the
//! first byte of the connection ID (RFC 9000, section 5.1), which therefore says whose it is: a client
//! whose address changes stays where its connection is. A client's first datagrams have an ID that it
//! made up, the same in all of them.
//!
//! The kernel chooses once for all that it has joined (GRO), which may be of several connections: then the
//! shard that got it passes on what is others'.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc::{sock_filter, sock_fprog};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::AttachReusePortCbpf;
use quinn_proto::{ConnectionId, ConnectionIdGenerator, HashedConnectionIdGenerator, InvalidCid};
use socket2::Socket;

use crate::server::udp_socket;

/// So many shards are told apart by a byte, each by several.
const MOST: usize = 64;
/// Where the destination's connection ID begins: behind the first byte in a short header, and behind
/// version and length in a long one (RFC 8999, sections 5.1 and 5.2).
const SHORT: u32 = 1;
const LONG: u32 = 6;

/// How many shards there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steering(u8);

/// A socket for each shard, in the kernel's order.
pub(super) struct Sockets {
    pub(super) all: Vec<Socket>,
    pub(super) address: SocketAddr,
    pub(super) steering: Steering,
}

/// Opens sockets at this address for so many shards.
pub(super) fn open(address: SocketAddr, shards: usize) -> Result<Sockets> {
    let steering = Steering::over(shards);
    // Who listens there already is found out by one that shares with nobody.
    let first = udp_socket::bound(address, "quic")?;
    let bound = first.local_addr().context("the address of QUIC")?;
    let address = bound.as_socket().context("the address of QUIC is not one of IP")?;
    if steering.0 == 1 {
        return Ok(Sockets { all: vec![first], address, steering });
    }
    drop(first);
    let one = |_| udp_socket::bound_with_others(address, "quic");
    let all = (0..steering.0).map(one).collect::<Result<Vec<_>>>()?;
    steering.attach(&all[0]).context("steering datagrams to the threads of QUIC")?;
    Ok(Sockets { all, address, steering })
}

impl Steering {
    fn over(shards: usize) -> Self {
        Self(u8::try_from(shards.clamp(1, MOST)).unwrap_or(1))
    }

    /// Whose a datagram is, as the program finds it.
    pub(super) fn of(self, datagram: &[u8]) -> u8 {
        let is_long = datagram.first().is_some_and(|first| first & 0x80 != 0);
        let at = if is_long { LONG } else { SHORT };
        datagram.get(at as usize).map_or(0, |first| self.shard(*first))
    }

    /// Whose a connection ID is, by its first byte.
    const fn shard(self, first: u8) -> u8 {
        first % self.0
    }

    /// The program in classic BPF: loads beyond the datagram choose the first.
    fn attach(self, socket: &Socket) -> nix::Result<()> {
        const LOAD_BYTE: u16 = 0x30;
        const JUMP: u16 = 0x05;
        const JUMP_IF_SET: u16 = 0x45;
        const MODULO: u16 = 0x94;
        const RETURN: u16 = 0x16;
        let op = |code, k| sock_filter { code, jt: 0, jf: 0, k };
        let mut program = [
            op(LOAD_BYTE, 0),
            sock_filter { code: JUMP_IF_SET, jt: 2, jf: 0, k: 0x80 },
            op(LOAD_BYTE, SHORT),
            op(JUMP, 1),
            op(LOAD_BYTE, LONG),
            op(MODULO, self.0.into()),
            op(RETURN, 0),
        ];
        let len = u16::try_from(program.len()).unwrap_or_default();
        let program = sock_fprog { len, filter: program.as_mut_ptr() };
        setsockopt(socket, AttachReusePortCbpf, &program)
    }

    /// Makes connection IDs of a shard.
    pub(super) fn ids(self, shard: u8) -> Ids {
        Ids { steering: self, shard, all: HashedConnectionIdGenerator::new() }
    }
}

/// Connection IDs of a shard.
pub(super) struct Ids {
    steering: Steering,
    shard: u8,
    all: HashedConnectionIdGenerator,
}

impl Ids {
    fn is_ours(&self, id: &ConnectionId) -> bool {
        id.first().is_some_and(|first| self.steering.shard(*first) == self.shard)
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        // They begin with random bytes, so one of this shard's is found soon.
        loop {
            let id = self.all.generate_cid();
            if self.is_ours(&id) {
                return id;
            }
        }
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        if self.is_ours(id) { self.all.validate(id) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        self.all.cid_len()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        self.all.cid_lifetime()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::UdpSocket;

    use super::*;

    fn received(sockets: &[UdpSocket]) -> usize {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            for (number, socket) in sockets.iter().enumerate() {
                match socket.recv(&mut [0; 64]) {
                    Ok(_) => return number,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            assert!(std::time::Instant::now() < deadline, "it came to none");
        }
    }

    #[test]
    fn a_datagram_comes_to_the_shard_of_its_connection_id() {
        let opened = open("127.0.0.1:0".parse().unwrap(), 5).unwrap();
        let sockets: Vec<UdpSocket> = opened.all.into_iter().map(UdpSocket::from).collect();
        assert_eq!(sockets.len(), 5);
        for socket in &sockets {
            socket.set_nonblocking(true).unwrap();
        }
        for round in 0..20 {
            for shard in 0..5 {
                let mut ids = opened.steering.ids(shard);
                let id = ids.generate_cid();
                assert!(ids.validate(&id).is_ok());
                assert!(opened.steering.ids((shard + 1) % 5).validate(&id).is_err());
                // From another address each time.
                let client = UdpSocket::bind("127.0.0.1:0").unwrap();
                let short = [&[0x40][..], &id, &[round; 20]].concat();
                let long = [&[0xc0, 0, 0, 0, 1, 8][..], &id, &[round; 20]].concat();
                for datagram in [short, long] {
                    assert_eq!(opened.steering.of(&datagram), shard);
                    client.send_to(&datagram, opened.address).unwrap();
                    assert_eq!(received(&sockets), usize::from(shard));
                }
            }
        }
        // What has no such byte comes to one all the same.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(opened.steering.of(&[0x80]), 0);
        client.send_to(&[0x80], opened.address).unwrap();
        assert_eq!(received(&sockets), 0);
    }

    #[test]
    fn who_listens_already_is_found_out() {
        let first = open("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = format!("{:#}", open(first.address, 2).err().unwrap());
        assert!(error.contains("`quic`"), "{error}");
    }
}
