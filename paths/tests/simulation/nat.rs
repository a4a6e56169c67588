//! A NAT, as far as UDP sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::Timestamp;
use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;

/// How it behaves (RFC 4787's words: mapping, then filtering).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// One port for all destinations; lets everybody in.
    FullCone,
    /// One port; lets in addresses that were sent to.
    Restricted,
    /// One port; lets in addresses and ports that were sent to.
    PortRestricted,
    /// Another, random port for each destination; lets in addresses and ports that were sent to.
    Symmetric,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] =
        [Self::FullCone, Self::Restricted, Self::PortRestricted, Self::Symmetric];

    pub(crate) fn is_hard(self) -> bool {
        self == Self::Symmetric
    }
}

/// A NAT with its table.
pub(crate) struct Nat {
    pub(crate) kind: Kind,
    pub(crate) outside: IpAddr,
    /// How long, without a packet from inside.
    pub(crate) remembers: Duration,
    /// From inside, and for whom if it is symmetric, to the port outside.
    out: BTreeMap<(SocketAddr, Option<SocketAddr>), u16>,
    back: BTreeMap<u16, Mapping>,
}

struct Mapping {
    inside: SocketAddr,
    key: (SocketAddr, Option<SocketAddr>),
    sent_to: BTreeSet<SocketAddr>,
    used: Timestamp,
}

impl Nat {
    pub(crate) fn new(kind: Kind, outside: IpAddr, remembers: Duration) -> Self {
        Self { kind, outside, remembers, out: BTreeMap::new(), back: BTreeMap::new() }
    }

    pub(crate) fn random_kind(rng: &mut SmallRng) -> Kind {
        *Kind::ALL.choose(rng).expect("there are some")
    }

    /// It is started anew.
    pub(crate) fn reboot(&mut self) {
        self.out.clear();
        self.back.clear();
    }

    /// A packet goes out; from where, as the world sees it.
    pub(crate) fn send(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        rng: &mut SmallRng,
        now: Timestamp,
    ) -> SocketAddr {
        let key = (from, self.kind.is_hard().then_some(to));
        let alive = |mapping: &Mapping| now - mapping.used < self.remembers;
        let known = self.out.get(&key).copied();
        let port = match known.filter(|port| self.back.get(port).is_some_and(alive)) {
            Some(port) => port,
            None => loop {
                let port = rng.random_range(1024..=u16::MAX);
                if !self.back.get(&port).is_some_and(alive) {
                    if let Some(gone) = self.back.remove(&port) {
                        self.out.remove(&gone.key);
                    }
                    break port;
                }
            },
        };
        self.out.insert(key, port);
        let new = || Mapping { inside: from, key, sent_to: BTreeSet::new(), used: now };
        let mapping = self.back.entry(port).or_insert_with(new);
        if now - mapping.used >= self.remembers {
            *mapping = new();
        }
        mapping.sent_to.insert(to);
        mapping.used = now;
        (self.outside, port).into()
    }

    /// A packet comes in; whom it is for.
    pub(crate) fn receive(
        &mut self,
        from: SocketAddr,
        port: u16,
        now: Timestamp,
    ) -> Option<SocketAddr> {
        let remembers = self.remembers;
        let mapping = self.back.get_mut(&port).filter(|m| now - m.used < remembers)?;
        let passes = match self.kind {
            Kind::FullCone => true,
            Kind::Restricted => mapping.sent_to.iter().any(|to| to.ip() == from.ip()),
            Kind::PortRestricted | Kind::Symmetric => mapping.sent_to.contains(&from),
        };
        passes.then_some(mapping.inside)
    }
}
