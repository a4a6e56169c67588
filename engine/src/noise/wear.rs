//! How many messages a session may carry (WireGuard paper, section 6.1), which boringtun does not
//! limit.

/// After this many messages a session is replaced (WireGuard paper, section 6.1).
const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// After this many messages a session carries nothing more.
pub(super) const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// How used up a session is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wear {
    /// It may go on.
    Fresh,
    /// It should be replaced.
    Worn,
    /// It may carry nothing more.
    Out,
}

/// What the counter of a sealed message says of its session.
pub(super) const fn wear(counter: u64) -> Wear {
    match counter {
        0..REKEY_AFTER_MESSAGES => Wear::Fresh,
        REKEY_AFTER_MESSAGES..REJECT_AFTER_MESSAGES => Wear::Worn,
        REJECT_AFTER_MESSAGES.. => Wear::Out,
    }
}

pub(super) fn counter(message: &[u8]) -> u64 {
    message.get(8..).and_then(|rest| rest.first_chunk()).map_or(0, |at| u64::from_le_bytes(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_wears_and_ends_at_the_limits_of_the_protocol() {
        assert_eq!(wear(0), Wear::Fresh);
        assert_eq!(wear((1 << 60) - 1), Wear::Fresh);
        assert_eq!(wear(1 << 60), Wear::Worn);
        assert_eq!(wear(u64::MAX - (1 << 13) - 1), Wear::Worn);
        assert_eq!(wear(u64::MAX - (1 << 13)), Wear::Out);
    }
}
