//! When a node takes another WireGuard key, and another node key. Pure.
//!
//! A key is made, named to the control plane as the next one, used once peers had time to hear of
//! it, and then said to be the key. Whatever is lost on the way is said again.

use proto::control::Me;
use proto::key::PublicKey;
use proto::ticket::UnixSeconds;

/// How long peers have to hear of the next key, in seconds.
const SPREAD: u64 = 3;
/// How long before its end a node key is renewed: 60 of 180 days.
const RENEW_AHEAD: u64 = 60 * 24 * 3600;

/// What the node has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) key: PublicKey,
    pub(crate) next: Option<PublicKey>,
    /// When the control plane was first known to have the next one.
    pub(crate) named: Option<UnixSeconds>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// Make the next key.
    Make,
    /// Tell the control plane of it.
    Name,
    /// The control plane has it: remember since when.
    Named,
    /// Use it, and say so.
    Use,
    /// Say that the key is used.
    Say,
}

pub(crate) fn next_step(keys: Keys, me: &Me, asked_for: bool, now: UnixSeconds) -> Step {
    match (keys.next, keys.named) {
        (None, _) if me.key != keys.key => Step::Say,
        (None, _) if asked_for || me.rotate.is_some_and(|at| at <= now) => Step::Make,
        (None, _) => Step::Nothing,
        // It was said, and the answer did not come: peers use it already.
        (Some(next), _) if me.key == next => Step::Use,
        (Some(next), _) if me.next_key != Some(next) => Step::Name,
        (Some(_), None) => Step::Named,
        // A clock that was set back delays nothing for long.
        (Some(_), Some(named)) if now.0.abs_diff(named.0) >= SPREAD => Step::Use,
        (Some(_), Some(_)) => Step::Nothing,
    }
}

/// Whether the node key should be renewed.
pub(crate) fn wants_node_key(me: &Me, now: UnixSeconds) -> bool {
    me.expires.is_some_and(|end| end.0 < now.0.saturating_add(RENEW_AHEAD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::wanted::tests::netmap;

    fn key(seed: u8) -> PublicKey {
        PublicKey::from([seed; 32])
    }

    #[test]
    fn a_key_is_made_named_spread_used_and_said() {
        let mut me = netmap(&[]).me;
        let mut keys = Keys { key: me.key, next: None, named: None };
        let at = UnixSeconds;
        assert_eq!(next_step(keys, &me, false, at(100)), Step::Nothing);
        assert_eq!(next_step(keys, &me, true, at(100)), Step::Make);
        me.rotate = Some(at(100));
        assert_eq!(next_step(keys, &me, false, at(99)), Step::Nothing);
        assert_eq!(next_step(keys, &me, false, at(100)), Step::Make);
        keys.next = Some(key(9));
        assert_eq!(next_step(keys, &me, false, at(101)), Step::Name);
        me.next_key = Some(key(9));
        assert_eq!(next_step(keys, &me, false, at(101)), Step::Named);
        keys.named = Some(at(101));
        assert_eq!(next_step(keys, &me, false, at(102)), Step::Nothing);
        assert_eq!(next_step(keys, &me, false, at(104)), Step::Use);
        keys = Keys { key: key(9), next: None, named: None };
        assert_eq!(next_step(keys, &me, false, at(104)), Step::Say);
        (me.key, me.next_key, me.rotate) = (key(9), None, Some(at(9000)));
        assert_eq!(next_step(keys, &me, false, at(105)), Step::Nothing);
    }

    #[test]
    fn an_answer_that_was_lost_changes_nothing() {
        let mut me = netmap(&[]).me;
        me.key = key(9);
        let keys = Keys { key: key(1), next: Some(key(9)), named: None };
        assert_eq!(next_step(keys, &me, false, UnixSeconds(0)), Step::Use);
    }

    #[test]
    fn a_node_key_is_renewed_in_time() {
        let mut me = netmap(&[]).me;
        assert!(!wants_node_key(&me, UnixSeconds(0)));
        me.expires = Some(UnixSeconds(RENEW_AHEAD + 10));
        assert!(!wants_node_key(&me, UnixSeconds(10)));
        assert!(wants_node_key(&me, UnixSeconds(11)));
    }
}
