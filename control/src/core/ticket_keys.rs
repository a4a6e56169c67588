//! The keys that sign relay tickets, each from its time on: relays know a key before it signs.

use std::sync::Arc;

use proto::control::ControlKey;
use proto::ticket::{ControlKeyId, UnixSeconds};

use super::view::{TICKET_LASTS, TicketKey};

/// How long before it signs a new key is there, in seconds, if nothing else is said.
pub const USUAL_LEAD: u64 = 3600;
/// The longest such time.
pub const MOST_LEAD: u64 = 30 * 24 * 3600;

/// See the module. There is always one.
pub struct TicketKeys {
    first: Arc<TicketKey>,
    /// By number, each with when it begins to sign.
    later: Vec<(UnixSeconds, Arc<TicketKey>)>,
}

impl TicketKeys {
    /// Keys by number, with when each begins to sign; nothing of none.
    pub fn new(keys: impl IntoIterator<Item = (UnixSeconds, TicketKey)>) -> Option<Self> {
        let mut keys = keys.into_iter().map(|(from, key)| (from, Arc::new(key)));
        let (_, first) = keys.next()?;
        Some(Self { first, later: keys.collect() })
    }

    /// The one that signs now.
    #[must_use]
    pub fn at(&self, now: UnixSeconds) -> &Arc<TicketKey> {
        let begun = self.later.iter().rev().find(|(from, _)| *from <= now);
        begun.map_or(&self.first, |(_, key)| key)
    }

    /// The public halves of all: of those that signed, sign, and will.
    #[must_use]
    pub fn public(&self) -> Vec<ControlKey> {
        let all = [&self.first].into_iter().chain(self.later.iter().map(|(_, key)| key));
        all.map(|key| ControlKey { id: key.id.0, key: key.key.verifying_key() }).collect()
    }
}

/// Why a key has to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InUse {
    /// It signs.
    #[error("the control key {} signs tickets: make another one first, and wait for its time", .0.0)]
    Signs(ControlKeyId),
    /// It will.
    #[error("the control key {} is to sign when its time comes", .0.0)]
    Waits(ControlKeyId),
    /// Tickets that it signed are good.
    #[error("tickets that the control key {} signed are good for {} s more", .0.0, .1)]
    Signed(ControlKeyId, u64),
}

/// Whether a key may go: of keys by number, each with when it begins to sign.
pub fn may_retire(
    keys: &[(ControlKeyId, UnixSeconds)],
    id: ControlKeyId,
    now: UnixSeconds,
) -> Result<(), InUse> {
    let begun = |(_, from): &&(ControlKeyId, UnixSeconds)| *from <= now;
    let signer = keys.iter().rev().find(begun).or(keys.first());
    if signer.is_some_and(|(key, _)| *key == id) {
        return Err(InUse::Signs(id));
    }
    // The numbers of keys only grow: were the last one gone, another would have its number.
    let successor = keys.iter().filter(|(key, _)| *key > id).find(begun);
    let (_, ended) = successor.ok_or(InUse::Waits(id))?;
    match (ended.0.saturating_add(TICKET_LASTS)).saturating_sub(now.0) {
        0 => Ok(()),
        seconds => Err(InUse::Signed(id, seconds)),
    }
}

#[cfg(test)]
mod tests {
    use proto::ticket::SigningKey;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_key_goes_when_its_last_ticket_has_ended() {
        let keys = [(1, 0), (2, 1_000_000), (3, 2_000_000)];
        let keys = keys.map(|(id, from)| (ControlKeyId(id), UnixSeconds(from)));
        let retire = |id, now| may_retire(&keys, ControlKeyId(id), UnixSeconds(now));
        assert_eq!(retire(1, 999_999), Err(InUse::Signs(ControlKeyId(1))));
        assert_eq!(retire(1, 1_000_600), Err(InUse::Signed(ControlKeyId(1), 3_000)));
        assert_eq!(retire(1, 1_003_600), Ok(()));
        assert_eq!(retire(2, 1_003_600), Err(InUse::Signs(ControlKeyId(2))));
        assert_eq!(retire(3, 1_003_600), Err(InUse::Waits(ControlKeyId(3))));
        let only = [(ControlKeyId(7), UnixSeconds(5_000_000))];
        assert_eq!(
            may_retire(&only, ControlKeyId(7), UnixSeconds(1)),
            Err(InUse::Signs(ControlKeyId(7)))
        );
    }

    #[test]
    fn a_key_signs_from_its_time_on_and_the_first_until_then() {
        let key = |id: u8| TicketKey {
            id: ControlKeyId(id.into()),
            key: SigningKey::from_seed(&Zeroizing::new([id; 32])).unwrap(),
        };
        let keys = [(9, key(1)), (20, key(2)), (15, key(3))];
        let keys = TicketKeys::new(keys.map(|(from, key)| (UnixSeconds(from), key))).unwrap();
        let at = |now| keys.at(UnixSeconds(now)).id.0;
        // A clock that was set back leaves the first.
        assert_eq!([0, 14, 15, 20, 30].map(at), [1, 1, 3, 3, 3]);
        assert!(TicketKeys::new([]).is_none());
    }
}
