//! Who is where, by what other relays have said.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use proto::key::PublicKey;
use proto::mesh::{Notice, Presence, RelayId};
use proto::ticket::NetworkId;

/// A relay says that a node is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Claim {
    pub(in crate::core) relay: RelayId,
    pub(in crate::core) home: bool,
    pub(in crate::core) since: Instant,
}

/// All claims. A node that moves is at two relays for a while.
#[derive(Default)]
pub(in crate::core) struct Directory {
    nodes: HashMap<(NetworkId, PublicKey), Vec<Claim>>,
    counts: BTreeMap<RelayId, usize>,
}

impl Directory {
    /// Takes what a relay says of a node; `limit` is how many it may speak for, and more are not heard.
    pub(in crate::core) fn take(
        &mut self,
        relay: RelayId,
        notice: &Notice,
        limit: usize,
        now: Instant,
    ) {
        let (home, age) = match notice.presence {
            Presence::Gone => return self.remove(relay, notice.network, &notice.node),
            Presence::Connected(age) => (false, age),
            Presence::Home(age) => (true, age),
        };
        let since = now.checked_sub(Duration::from_millis(age.into())).unwrap_or(now);
        let claim = Claim { relay, home, since };
        let key = (notice.network, notice.node);
        let known = self.nodes.get_mut(&key).and_then(|claims| at(claims, relay));
        if let Some(known) = known {
            *known = claim;
            return;
        }
        let count = self.counts.entry(relay).or_default();
        if *count < limit {
            *count += 1;
            self.nodes.entry(key).or_default().push(claim);
        }
    }

    /// The relay does not have this node.
    pub(in crate::core) fn remove(&mut self, relay: RelayId, network: NetworkId, node: &PublicKey) {
        let key = (network, *node);
        let Some(claims) = self.nodes.get_mut(&key) else { return };
        let before = claims.len();
        claims.retain(|claim| claim.relay != relay);
        if let Some(count) = self.counts.get_mut(&relay) {
            *count -= before - claims.len();
        }
        if claims.is_empty() {
            self.nodes.remove(&key);
        }
    }

    /// Nothing that this relay has said holds any more.
    pub(in crate::core) fn forget(&mut self, relay: RelayId) {
        if self.counts.remove(&relay).is_some_and(|count| count > 0) {
            self.nodes.retain(|_, claims| {
                claims.retain(|claim| claim.relay != relay);
                !claims.is_empty()
            });
        }
    }

    /// Whether this relay says that it has the node.
    pub(in crate::core) fn has(
        &self,
        relay: RelayId,
        network: NetworkId,
        node: &PublicKey,
    ) -> bool {
        let claims = self.nodes.get(&(network, *node));
        claims.is_some_and(|claims| claims.iter().any(|claim| claim.relay == relay))
    }

    /// Where to reach a node: at its latest home, or where it came last if it has none.
    pub(in crate::core) fn find(&self, network: NetworkId, node: &PublicKey) -> Option<&Claim> {
        let claims = self.nodes.get(&(network, *node))?;
        claims.iter().max_by_key(|claim| (claim.home, claim.since))
    }

    /// How many nodes a relay speaks for.
    pub(in crate::core) fn count(&self, relay: RelayId) -> usize {
        self.counts.get(&relay).copied().unwrap_or_default()
    }
}

fn at(claims: &mut [Claim], relay: RelayId) -> Option<&mut Claim> {
    claims.iter_mut().find(|claim| claim.relay == relay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId([1; 16]);
    const A: RelayId = RelayId(1);
    const B: RelayId = RelayId(2);

    fn notice(node: u8, presence: Presence) -> Notice {
        Notice { network: NETWORK, node: PublicKey::from([node; 32]), presence }
    }

    fn at_relay(directory: &Directory, node: u8) -> Option<RelayId> {
        directory.find(NETWORK, &PublicKey::from([node; 32])).map(|claim| claim.relay)
    }

    #[test]
    fn the_latest_home_counts_whatever_the_order_of_the_news() {
        let now = Instant::now() + Duration::from_secs(100);
        let mut directory = Directory::default();
        directory.take(B, &notice(7, Presence::Home(10)), 9, now);
        directory.take(A, &notice(7, Presence::Home(5000)), 9, now);
        assert_eq!(at_relay(&directory, 7), Some(B), "A's news are old");
        directory.take(A, &notice(7, Presence::Connected(0)), 9, now);
        assert_eq!(at_relay(&directory, 7), Some(B), "a visit is no home");
        directory.take(B, &notice(7, Presence::Gone), 9, now);
        assert_eq!(at_relay(&directory, 7), Some(A));
        directory.forget(A);
        assert_eq!((at_relay(&directory, 7), directory.count(A)), (None, 0));
        assert!(directory.nodes.is_empty());
    }

    #[test]
    fn a_relay_may_speak_for_so_many_only() {
        let now = Instant::now();
        let mut directory = Directory::default();
        for node in 0..10 {
            directory.take(A, &notice(node, Presence::Home(0)), 4, now);
            directory.take(A, &notice(node, Presence::Home(0)), 4, now);
        }
        assert_eq!((directory.count(A), directory.nodes.len()), (4, 4));
        directory.take(A, &notice(0, Presence::Gone), 4, now);
        directory.take(A, &notice(0, Presence::Gone), 4, now);
        directory.take(A, &notice(9, Presence::Home(0)), 4, now);
        assert_eq!((directory.count(A), at_relay(&directory, 9)), (4, Some(A)));
        directory.take(B, &notice(8, Presence::Home(0)), 4, now);
        assert_eq!(at_relay(&directory, 8), Some(B), "others are not concerned");
    }
}
