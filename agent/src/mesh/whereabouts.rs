//! Where this node can be reached: the host's own addresses, and what the world sees of its port.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::Timestamp;
use ipnet::IpNet;
use paths::{Own, Rule};
use proto::control::{MAX_ENDPOINTS, Netmap, Region, RegionId};
use proto::probe::MAX_CALLED;
use proto::stun::Transaction;
use rand::TryRngCore as _;
use rand::rngs::OsRng;

use super::reflexive::Reflexive;

/// The number of a question of STUN.
pub(super) fn random_transaction() -> Transaction {
    let mut transaction = [0; 12];
    // Where there are no random numbers, answers may be confused, at worst.
    let _ = OsRng.try_fill_bytes(&mut transaction);
    transaction
}

/// See the module.
pub(super) struct Whereabouts {
    reflexive: Reflexive,
    endpoints: Vec<SocketAddr>,
    /// Where a router has mapped the port.
    pub(super) mapped: Option<SocketAddr>,
    /// Since when the host is in this network.
    since: Timestamp,
    /// The host's own addresses.
    local: Vec<IpAddr>,
}

impl Whereabouts {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            reflexive: Reflexive::new(now),
            endpoints: Vec::new(),
            mapped: None,
            since: now,
            local: Vec::new(),
        }
    }

    pub(super) fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }

    /// The host's network is another: what was seen is worth nothing.
    pub(super) fn start_over(&mut self, now: Timestamp) {
        self.since = now;
        self.reflexive.start_over(now);
    }

    /// Since when the host is in this network.
    pub(super) const fn since(&self) -> Timestamp {
        self.since
    }

    /// What to ask from the port now, and whom.
    pub(super) fn questions(
        &mut self,
        regions: &[Region],
        now: Timestamp,
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        self.reflexive.questions(regions, random_transaction, now)
    }

    /// Asks at once, if that was not done a moment ago.
    pub(super) fn ask_soon(&mut self, now: Timestamp) -> bool {
        self.reflexive.ask_soon(now)
    }

    /// Takes an answer; whether it tells anything new.
    pub(super) fn answer(&mut self, datagram: &[u8], now: Timestamp) -> bool {
        self.reflexive.answer(datagram, now)
    }

    /// Where relays see the port.
    pub(super) fn seen(&self) -> Vec<SocketAddr> {
        self.reflexive.addresses()
    }

    pub(super) fn is_hard(&self) -> Option<bool> {
        self.reflexive.is_hard()
    }

    /// A relay that shows what a NAT does.
    pub(super) fn with_second(&self, now: Timestamp) -> Option<SocketAddr> {
        self.reflexive.with_second(now)
    }

    /// Whether the world sees the port where the host has it; not known before a relay has answered.
    pub(super) fn is_open(&self) -> Option<bool> {
        let seen = self.reflexive.addresses();
        (!seen.is_empty()).then(|| seen.iter().all(|at| self.is_local(at.ip())))
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        self.local.contains(&ip)
    }

    /// How far the nearest relay of a region is, by what answered lately.
    pub(super) fn distance(&self, region: RegionId, now: Timestamp) -> Option<Duration> {
        self.reflexive.distance(region, now)
    }

    /// As the choice of ways has to know it.
    pub(super) fn own(&self, netmap: &Netmap, rule: Rule, mtu: Option<u16>) -> Own {
        let inside = [IpNet::from(netmap.network.v4), netmap.network.v6.into()];
        // What the world sees first: a hard NAT is passed by the first address alone.
        let seen = self.reflexive.addresses();
        let others = self.endpoints.iter().copied();
        let local = others.filter(|at| !seen.contains(at) && self.mapped != Some(*at));
        let at = seen.iter().copied().chain(local).take(MAX_CALLED).collect();
        let hard = self.reflexive.is_hard() == Some(true);
        let mapped = self.mapped.filter(|_| rule != Rule::Relay);
        Own { at, mapped, hard, inside: inside.to_vec(), rule, mtu }
    }

    /// Puts together what is known; whether it is news. Who uses relays only names no addresses.
    pub(super) fn gather(&mut self, local: &[IpNet], port: u16, rule: Rule) -> bool {
        self.local = local.iter().map(IpNet::addr).collect();
        let local = local.iter().map(|net| SocketAddr::from((net.addr(), port)));
        let seen = self.reflexive.addresses();
        let mut endpoints = Vec::new();
        for at in self.mapped.into_iter().chain(seen).chain(local) {
            if !endpoints.contains(&at) {
                endpoints.push(at);
            }
        }
        endpoints.truncate(if rule == Rule::Relay { 0 } else { MAX_ENDPOINTS });
        endpoints.sort_unstable();
        let is_news = endpoints != self.endpoints;
        self.endpoints = endpoints;
        is_news
    }
}
