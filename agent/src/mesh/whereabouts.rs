//! Where this node can be reached: the host's own addresses, and what the world sees of its port.

use std::net::SocketAddr;

use engine::Timestamp;
use ipnet::IpNet;
use proto::control::{MAX_ENDPOINTS, Netmap, RegionId};
use rand::TryRngCore as _;
use rand::rngs::OsRng;

use super::reflexive::Reflexive;

/// See the module.
pub(super) struct Whereabouts {
    reflexive: Reflexive,
    endpoints: Vec<SocketAddr>,
}

impl Whereabouts {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { reflexive: Reflexive::new(now), endpoints: Vec::new() }
    }

    pub(super) fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }

    /// The nearest region, by what answered.
    pub(super) fn nearest(&self) -> Option<RegionId> {
        self.reflexive.nearest()
    }

    /// The host's network is another: what was seen is worth nothing.
    pub(super) fn start_over(&mut self, now: Timestamp) {
        self.reflexive.start_over(now);
    }

    /// What to ask from the port now, and whom.
    pub(super) fn questions(
        &mut self,
        netmap: &Netmap,
        now: Timestamp,
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        let random = || {
            let mut transaction = [0; 12];
            // Where there are no random numbers, answers may be confused, at worst.
            let _ = OsRng.try_fill_bytes(&mut transaction);
            transaction
        };
        self.reflexive.questions(&netmap.regions, random, now)
    }

    /// Takes an answer; whether it tells anything new.
    pub(super) fn answer(&mut self, datagram: &[u8], now: Timestamp) -> bool {
        self.reflexive.answer(datagram, now)
    }

    /// Puts together what is known; whether it is news.
    pub(super) fn gather(&mut self, local: &[IpNet], port: u16) -> bool {
        let local = local.iter().map(|net| SocketAddr::from((net.addr(), port)));
        let seen = self.reflexive.seen.values().map(|(address, _)| *address);
        let mut endpoints: Vec<_> = local.chain(seen).collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        endpoints.truncate(MAX_ENDPOINTS);
        let is_news = endpoints != self.endpoints;
        self.endpoints = endpoints;
        is_news
    }
}
