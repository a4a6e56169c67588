//! One remote peer: an engine with one peer of its own, the tunnel.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context, Result};
use dataplane_common::IndexMask;
use engine::{Ecn, Engine, Output, PADDING, Place, Settings, Timestamp};
use proto::key::{PrivateKey, PublicKey};
use proto::uapi::{AllowedIpChange, PeerChange, Set};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use super::packet::{self, PAYLOAD};
use crate::flood::Round;

/// The inner port that it sends from.
const PORT: u16 = 7;

pub(super) struct Peer {
    engine: Engine,
    pub(super) outside: Ipv4Addr,
    inside: Ipv4Addr,
    connected: bool,
    /// What it sends, with room for padding behind.
    packet: Vec<u8>,
    len: usize,
}

impl Peer {
    pub(super) fn new(
        number: usize,
        outside: Ipv4Addr,
        inside: Ipv4Addr,
        tunnel: &str,
        at: SocketAddr,
        now: Timestamp,
    ) -> Result<Self> {
        let seed = number as u64;
        let mut engine =
            Engine::new(Settings { mtu: 1420, seed, place: Place::alone(IndexMask::new(0)) });
        let mut key = [0; 32];
        // The same in each run: they guard nothing.
        SmallRng::seed_from_u64(seed).fill_bytes(&mut key);
        let everything = "0.0.0.0/0".parse().context("a network")?;
        let peer = PeerChange {
            endpoint: Some(at),
            allowed_ips: vec![AllowedIpChange::Add(everything)],
            ..PeerChange::new(PublicKey::from_base64(tunnel)?)
        };
        let set = Set {
            private_key: Some(Some(PrivateKey::from(key))),
            peers: vec![peer],
            ..Set::default()
        };
        engine.configure(&set, now, &mut Output::default())?;
        let mut new =
            Self { engine, outside, inside, connected: false, packet: Vec::new(), len: 0 };
        // What waits for the session, and is thrown away where it arrives.
        new.prepare(SocketAddr::from(([10, 9, 0, 2], 9)), 0)?;
        Ok(new)
    }

    /// How `wg addconf` is told of it.
    pub(super) fn section(&self) -> String {
        let key = self.engine.public_key().map(|key| key.to_base64()).unwrap_or_default();
        format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {}/32\n", self.inside)
    }

    pub(super) fn has_session(&self) -> bool {
        self.connected
    }

    /// Makes the packet that [`Self::seal`] numbers and sends.
    pub(super) fn prepare(&mut self, to: SocketAddr, payload: usize) -> Result<()> {
        let IpAddr::V4(ip) = to.ip() else {
            anyhow::bail!("{to}: remote peers speak IPv4 inside");
        };
        let from = SocketAddrV4::new(self.inside, PORT);
        self.packet = packet::udp(from, SocketAddrV4::new(ip, to.port()), payload)?;
        self.len = self.packet.len();
        self.packet.resize(self.len + PADDING, 0);
        Ok(())
    }

    /// Asks for a session, or again if there was no answer in time.
    pub(super) fn ask(&mut self, now: Timestamp, out: &mut Output) {
        self.engine.handle_timeout(now, out);
        if out.transmits.is_empty() {
            self.engine.handle_packet(&mut self.packet, self.len, now, out);
        }
    }

    pub(super) fn hear(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) {
        self.engine.handle_datagram(from.into(), Ecn::NotCapable, datagram, now, out);
        self.engine.handle_timeout(now, out);
        out.packets.clear();
        self.connected = self.engine.peers().iter().any(|tunnel| tunnel.last_handshake.is_some());
    }

    pub(super) fn seal(&mut self, round: Round, number: u32, now: Timestamp, out: &mut Output) {
        round.mark(number, &mut self.packet[PAYLOAD..]);
        self.engine.handle_packet(&mut self.packet, self.len, now, out);
    }
}
