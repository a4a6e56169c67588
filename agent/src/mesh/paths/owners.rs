//! Whose a probe key is. Peers name their own keys, so one may name another's: who has it shows by a call
//! through the relay, which knows who its clients are.

use std::collections::{BTreeSet, HashMap};

use proto::control::NodeId;
use proto::key::PublicKey;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<PublicKey, Claims>);

#[derive(Debug, Default)]
struct Claims {
    by: BTreeSet<NodeId>,
    proven: Option<NodeId>,
}

impl Owners {
    pub(super) fn claim(&mut self, key: PublicKey, id: NodeId) {
        self.0.entry(key).or_default().by.insert(id);
    }

    pub(super) fn give_up(&mut self, key: &PublicKey, id: &NodeId) {
        let Some(claims) = self.0.get_mut(key) else { return };
        claims.by.remove(id);
        claims.proven = claims.proven.filter(|proven| proven != id);
        if claims.by.is_empty() {
            self.0.remove(key);
        }
    }

    /// Whether anybody has this key.
    pub(super) fn is_known(&self, key: &PublicKey) -> bool {
        self.0.contains_key(key)
    }

    /// Who speaks by this key, if it came through the relay from this peer, or directly.
    pub(super) fn speaker(&self, key: &PublicKey, relayed: Option<NodeId>) -> Option<NodeId> {
        let claims = self.0.get(key)?;
        match relayed {
            Some(id) => claims.by.get(&id).copied(),
            None if claims.by.len() == 1 => claims.by.first().copied(),
            None => claims.proven,
        }
    }

    /// This peer has called by this key through the relay.
    pub(super) fn prove(&mut self, key: &PublicKey, id: NodeId) {
        if let Some(claims) = self.0.get_mut(key) {
            claims.proven = Some(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_anothers_key_gets_nothing_by_it() {
        let (liar, owner) = (NodeId([1; 16]), NodeId([2; 16]));
        let key = PublicKey::from([7; 32]);
        let mut owners = Owners::default();
        owners.claim(key, liar);
        assert_eq!(owners.speaker(&key, None), Some(liar), "who cannot seal with it says nothing");
        owners.claim(key, owner);
        assert_eq!(owners.speaker(&key, None), None, "nobody knows");
        assert_eq!(owners.speaker(&key, Some(owner)), Some(owner));
        assert_eq!(owners.speaker(&key, Some(NodeId([3; 16]))), None);
        owners.prove(&key, owner);
        assert_eq!(owners.speaker(&key, None), Some(owner));
        owners.give_up(&key, &liar);
        assert_eq!(owners.speaker(&key, None), Some(owner));
        owners.give_up(&key, &owner);
        assert!(!owners.is_known(&key) && owners.0.is_empty());
    }
}
