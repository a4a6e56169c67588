//! What is lost on the way that is used, by what the peer says has arrived.
//!
//! Messages of a session are numbered, so a peer knows how many it should have; each pong says.

use std::time::Duration;

use engine::Timestamp;
use proto::probe::Received;

/// The shortest time that is judged, and how many messages it needs: at 5 % of loss, 10 are lost.
const WINDOW: Duration = Duration::from_millis(450);
const MESSAGES: u32 = 200;
/// Slower than this, they say nothing of now.
const STALE: Duration = Duration::from_secs(5);
/// Lost of a thousand, from which a window is bad: 5 % come out as less than this in one of fifteen.
const BAD: u32 = 30;
/// Bad windows in a row. One alone is a sender that finds out how fast it can go.
const BAD_WINDOWS: u32 = 2;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LossMeter {
    last: Option<(Received, Timestamp)>,
    bad: u32,
    /// Of a thousand, in the last window.
    pub(crate) lost: Option<u32>,
}

impl LossMeter {
    /// Packets take another way.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_bad(&self) -> bool {
        self.bad >= BAD_WINDOWS
    }

    pub(crate) fn take(&mut self, received: Received, now: Timestamp) {
        let Some((first, since)) = self.last else {
            self.last = Some((received, now));
            return;
        };
        let expected = received.expected.wrapping_sub(first.expected);
        let arrived = received.arrived.wrapping_sub(first.arrived);
        if now - since < WINDOW || (expected < MESSAGES && now - since < STALE) {
            return;
        }
        self.last = Some((received, now));
        // The peer was started anew, or few messages came: nothing is known.
        if !(MESSAGES..u32::MAX / 2).contains(&expected) || arrived > u32::MAX / 2 {
            self.bad = 0;
            return;
        }
        let missing = u64::from(expected.saturating_sub(arrived));
        let lost = u32::try_from(missing * 1000 / u64::from(expected)).unwrap_or_default();
        self.bad = if lost >= BAD { self.bad + 1 } else { 0 };
        self.lost = Some(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(windows: &[(u32, u32)]) -> LossMeter {
        let mut meter = LossMeter::default();
        // Both wrap on the way.
        let mut received = Received { expected: u32::MAX - 100, arrived: u32::MAX - 300 };
        let mut now = Timestamp::from_epoch(Duration::from_secs(9));
        meter.take(received, now);
        for (expected, arrived) in windows {
            now = now + Duration::from_millis(500);
            received.expected = received.expected.wrapping_add(*expected);
            received.arrived = received.arrived.wrapping_add(*arrived);
            meter.take(received, now);
        }
        meter
    }

    #[test]
    fn a_way_that_loses_a_twentieth_is_bad_and_one_bad_moment_is_not() {
        assert!(judge(&[(1000, 950), (1000, 950)]).is_bad());
        assert!(!judge(&[(1000, 700)]).is_bad());
        assert!(!judge(&[(1000, 700), (1000, 1000), (1000, 700)]).is_bad());
        assert!(!judge(&[(1000, 990), (1000, 990), (1000, 990)]).is_bad());
        assert!(!judge(&[(1000, 1010), (1000, 1000)]).is_bad(), "late ones came too");
    }

    #[test]
    fn few_messages_say_nothing() {
        assert!(!judge(&[(10, 5); 9]).is_bad());
        assert_eq!(judge(&[(10, 5); 9]).lost, None);
    }

    #[test]
    fn a_peer_that_starts_anew_is_not_taken_for_loss() {
        let mut meter = judge(&[(1000, 1000)]);
        let now = Timestamp::from_epoch(Duration::from_secs(20));
        meter.take(Received::default(), now);
        meter.take(Received { expected: 900, arrived: 900 }, now + Duration::from_secs(1));
        meter.take(Received { expected: 1800, arrived: 1800 }, now + Duration::from_secs(2));
        assert!(!meter.is_bad());
    }
}
