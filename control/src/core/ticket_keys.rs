//! The keys that sign relay tickets, each from its time on: relays know a key before it signs.

use std::sync::Arc;

use proto::ticket::UnixSeconds;

use super::view::TicketKey;

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
}

#[cfg(test)]
mod tests {
    use proto::ticket::{ControlKeyId, SigningKey};
    use zeroize::Zeroizing;

    use super::*;

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
