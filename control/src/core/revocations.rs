//! What a relay is told of whom it is not to serve.

use std::collections::BTreeSet;

use proto::control::{RevocationFrame, Revoked};
use proto::ticket::NetworkId;

/// The next line for a relay that was told `before`, if there is anything to say. A relay of one network
/// hears of no other.
#[must_use]
pub fn frame(
    before: Option<&BTreeSet<Revoked>>,
    now: &BTreeSet<Revoked>,
    only: Option<NetworkId>,
) -> Option<RevocationFrame> {
    let concerns = |revoked: &&Revoked| only.is_none_or(|network| revoked.network == network);
    let Some(before) = before else {
        let revoked = now.iter().filter(concerns).copied().collect();
        return Some(RevocationFrame { anew: true, revoked, restored: Vec::new() });
    };
    let revoked = now.difference(before).filter(concerns).copied().collect();
    let restored = before.difference(now).filter(concerns).copied().collect();
    let frame = RevocationFrame { anew: false, revoked, restored };
    (!frame.is_alive()).then_some(frame)
}

#[cfg(test)]
mod tests {
    use proto::ticket::VerifyingKey;

    use super::*;

    fn one(network: u8, key: u8) -> Revoked {
        let identity = (key > 0).then_some(VerifyingKey([key; 32]));
        Revoked { network: NetworkId([network; 16]), identity }
    }

    #[test]
    fn a_relay_hears_of_everything_and_then_of_what_is_new() {
        let first = BTreeSet::from([one(1, 1), one(2, 0)]);
        let then = BTreeSet::from([one(1, 2), one(2, 0)]);
        let all = frame(None, &first, None).unwrap();
        assert!(all.anew && all.revoked == [one(1, 1), one(2, 0)] && all.restored.is_empty());
        let news = frame(Some(&first), &then, None).unwrap();
        assert!(!news.anew && news.revoked == [one(1, 2)] && news.restored == [one(1, 1)]);
        assert_eq!(frame(Some(&first), &first, None), None);
        // Also nobody is news to who knows nothing.
        assert!(frame(None, &BTreeSet::new(), None).unwrap().anew);
    }

    #[test]
    fn a_relay_of_one_network_hears_of_no_other() {
        let (first, then) = (BTreeSet::new(), BTreeSet::from([one(1, 1), one(2, 0)]));
        let of = |network| Some(NetworkId([network; 16]));
        assert_eq!(frame(None, &then, of(1)).unwrap().revoked, [one(1, 1)]);
        assert_eq!(frame(Some(&first), &then, of(3)), None);
        assert_eq!(frame(Some(&then), &first, of(2)).unwrap().restored, [one(2, 0)]);
    }
}
