//! From the state that the interface has to the one that it is to have. Pure.

use std::collections::BTreeSet;

use engine::KeyChange;
use ipnet::IpNet;
use proto::key::PublicKey;
use proto::uapi::{AllowedIpChange, PeerChange, Set};

use super::wanted::Wanted;

/// What has to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Who is a peer no more: done before anything else.
    pub(crate) gone: Vec<PublicKey>,
    pub(crate) keys: Vec<KeyChange>,
    /// Peers that are new, or have other networks.
    pub(crate) peers: Vec<PeerChange>,
    pub(crate) addresses: Changes,
    pub(crate) routes: Changes,
}

/// What comes and what goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) add: Vec<IpNet>,
    pub(crate) remove: Vec<IpNet>,
}

impl Steps {
    pub(crate) fn between(from: &Wanted, to: &Wanted) -> Self {
        let mut steps = Self {
            addresses: Changes::between(&from.addresses, &to.addresses),
            routes: Changes::between(&from.routes, &to.routes),
            ..Self::default()
        };
        let gone = from.peers.iter().filter(|(id, _)| !to.peers.contains_key(id));
        steps.gone = gone.map(|(_, peer)| peer.key).collect();
        for (id, peer) in &to.peers {
            let before = from.peers.get(id);
            if let Some(before) = before.filter(|before| before.key != peer.key) {
                steps.keys.push(KeyChange::Rename { peer: before.key, to: peer.key });
            }
            if before.is_none_or(|before| before.allowed_ips != peer.allowed_ips) {
                let networks = peer.allowed_ips.iter().copied().map(AllowedIpChange::Add);
                steps.peers.push(PeerChange {
                    replace_allowed_ips: true,
                    allowed_ips: networks.collect(),
                    ..PeerChange::new(peer.key)
                });
            }
            let same = |before: &super::wanted::WantedPeer| {
                before.next_key == peer.next_key && before.key == peer.key
            };
            let known = before.is_some_and(same) || (before.is_none() && peer.next_key.is_none());
            if !known {
                let next = peer.next_key;
                steps.keys.push(KeyChange::Expect { peer: peer.key, next });
            }
        }
        steps
    }

    /// The removals, and then the rest, as the engine takes them.
    pub(crate) fn sets(&self) -> [Set; 2] {
        let gone = |key: &PublicKey| PeerChange { remove: true, ..PeerChange::new(*key) };
        [
            Set { peers: self.gone.iter().map(gone).collect(), ..Set::default() },
            Set { peers: self.peers.clone(), ..Set::default() },
        ]
    }
}

impl Changes {
    fn between(from: &BTreeSet<IpNet>, to: &BTreeSet<IpNet>) -> Self {
        Self {
            add: to.difference(from).copied().collect(),
            remove: from.difference(to).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::state::Settings;
    use crate::mesh::wanted::tests::netmap;

    fn wanted(netmap: &proto::control::Netmap) -> Wanted {
        Wanted::of(netmap, &Settings { accept_routes: true, ..Settings::default() }, &[])
    }

    #[test]
    fn what_stays_is_left_alone() {
        let netmap = netmap(&[('2', "web", &["10.1.0.0/16"]), ('3', "db", &[])]);
        let both = wanted(&netmap);
        assert_eq!(Steps::between(&both, &both), Steps::default());
        let first = Steps::between(&Wanted::default(), &both);
        assert_eq!((first.peers.len(), first.keys.len(), first.addresses.add.len()), (2, 0, 2));
    }

    #[test]
    fn a_change_of_keys_is_a_rename_and_no_new_peer() {
        let mut netmap = netmap(&[('2', "web", &[])]);
        let before = wanted(&netmap);
        let next = PublicKey::from([99; 32]);
        let id = *netmap.peers.keys().next().unwrap();
        let peer = netmap.peers.get_mut(&id).unwrap();
        let old = peer.key;
        peer.next_key = Some(next);
        let named = wanted(&netmap);
        let steps = Steps::between(&before, &named);
        assert_eq!(steps.keys, [KeyChange::Expect { peer: old, next: Some(next) }]);
        assert!(steps.peers.is_empty() && steps.gone.is_empty());
        let peer = netmap.peers.get_mut(&id).unwrap();
        (peer.key, peer.next_key) = (next, None);
        let used = wanted(&netmap);
        let steps = Steps::between(&named, &used);
        assert_eq!(steps.keys[0], KeyChange::Rename { peer: old, to: next });
        assert!(steps.peers.is_empty() && steps.gone.is_empty());
        netmap.peers.clear();
        let steps = Steps::between(&used, &wanted(&netmap));
        assert_eq!(steps.gone, [next]);
        assert!(steps.sets()[0].peers[0].remove);
    }
}
