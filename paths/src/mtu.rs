//! How much a direct way carries, found by padded pings that no router may cut (RFC 8899).
//!
//! The search goes through the lengths that links are made for. What was proven is asked for again now
//! and then, so that a way is noticed that has become narrower without saying so; and longer ones are
//! tried again after a while.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::Timestamp;
use proto::probe::{PING_LEN, PingId};

/// Lengths of IP packets, shortest first: that which every link carries, those of tunnels and
/// telephone lines, Ethernet, clouds, and Ethernet with long frames.
const SIZES: [u16; 14] =
    [1280, 1320, 1360, 1400, 1420, 1440, 1460, 1480, 1492, 1500, 4352, 8500, 8896, 9000];
/// Ethernet, for which a way is taken until more is known.
const USUAL: usize = 9;
/// So often one length is asked for before it is taken for too long.
const TRIES: usize = 3;
/// How long an answer is waited for, beside two round trips.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often what was proven is asked for again.
const CONFIRM: Duration = Duration::from_secs(15);
/// How long nothing longer is tried than what was proven.
const RAISE: Duration = Duration::from_secs(600);
const UDP_HEADER: usize = 8;
/// What a WireGuard message has around a packet.
const MESSAGE: usize = 32;

/// See the module. Lengths are indices of [`SIZES`].
#[derive(Debug, Default)]
pub(crate) struct PathMtu {
    /// The longest that was answered.
    proven: Option<usize>,
    /// The shortest that was not.
    refused: Option<usize>,
    /// What is asked for, and by which pings.
    asked: Option<usize>,
    pings: Vec<PingId>,
    /// When something is to be done; never, when there is no way.
    at: Option<Timestamp>,
    raise: Timestamp,
}

impl PathMtu {
    /// Another way is in use, of which nothing is known.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        *self = Self { at: Some(now), raise: now + RAISE, ..Self::default() };
    }

    /// No way is in use that could be asked.
    pub(crate) fn stop(&mut self) {
        *self = Self::default();
    }

    /// When [`Self::due`] is.
    pub(crate) const fn at(&self) -> Option<Timestamp> {
        self.at
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// The length of the packet that is to be sent now, with this ping, by an interface that sends no
    /// more than `most`.
    pub(crate) fn due(
        &mut self,
        id: PingId,
        most: u16,
        rtt: Duration,
        now: Timestamp,
    ) -> Option<u16> {
        if !self.is_due(now) {
            return None;
        }
        if let Some(size) = self.asked.filter(|_| self.pings.len() >= TRIES) {
            // Of what was proven, everything has to be found anew.
            self.proven = self.proven.filter(|proven| *proven != size);
            self.refused = Some(size);
            self.forget();
        }
        if now >= self.raise {
            (self.refused, self.raise) = (None, now + RAISE);
        }
        let size = self.asked.or_else(|| self.next(most)).or(self.proven);
        let Some(size) = size else {
            self.at = Some(self.raise);
            return None;
        };
        (self.asked, self.at) = (Some(size), Some(now + PATIENCE + rtt * 2));
        self.pings.push(id);
        Some(SIZES[size])
    }

    /// Takes an answer; whether it is one to this search.
    pub(crate) fn answered(&mut self, id: PingId, most: u16, now: Timestamp) -> bool {
        let Some(size) = self.asked.filter(|_| self.pings.contains(&id)) else { return false };
        self.proven = self.proven.max(Some(size));
        self.forget();
        self.at = Some(if self.next(most).is_some() { now } else { now + CONFIRM });
        true
    }

    /// The longest packet of the host that fits, around which there is a message to this address.
    pub(crate) fn fits(&self, to: SocketAddr) -> usize {
        let size = match self.proven {
            Some(proven) => proven,
            None if self.refused.is_some_and(|refused| refused <= USUAL) => 0,
            None => USUAL,
        };
        usize::from(SIZES[size]) - header(to) - MESSAGE
    }

    /// The next length to ask for; none if it is known how much the way carries.
    fn next(&self, most: u16) -> Option<usize> {
        let sendable = SIZES.partition_point(|size| *size <= most);
        let least = self.proven.map_or(0, |proven| proven + 1);
        let end = self.refused.unwrap_or(sendable).min(sendable);
        let last = end.checked_sub(1).filter(|last| *last >= least)?;
        Some(match self.refused {
            None if least <= USUAL => last.min(USUAL),
            None => last,
            Some(_) => least.midpoint(last),
        })
    }

    fn forget(&mut self) {
        self.asked = None;
        self.pings.clear();
    }
}

/// The longest packet of the host where nothing is known of the way, in bytes.
#[must_use]
pub fn usual() -> usize {
    usize::from(SIZES[USUAL]) - 40 - UDP_HEADER - MESSAGE
}

/// How many zeros make a ping a packet of this length.
pub(crate) fn room(size: u16, to: SocketAddr) -> u16 {
    size.saturating_sub(u16::try_from(header(to) + PING_LEN).unwrap_or(u16::MAX))
}

fn header(to: SocketAddr) -> usize {
    UDP_HEADER
        + match to.ip().to_canonical() {
            IpAddr::V4(_) => 20,
            IpAddr::V6(_) => 40,
        }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V4: &str = "192.0.2.1:1";

    struct Way {
        mtu: PathMtu,
        now: Timestamp,
        pings: u8,
    }

    impl Way {
        fn new() -> Self {
            let mut mtu = PathMtu::default();
            let now = Timestamp::from_epoch(Duration::from_secs(9));
            mtu.begin(now);
            Self { mtu, now, pings: 0 }
        }

        /// Lets time pass on a way that carries so much; gives how many pings that took.
        fn run(&mut self, carries: u16, most: u16, time: Duration) -> usize {
            let (end, mut count) = (self.now + time, 0);
            while let Some(at) = self.mtu.at().filter(|at| *at < end) {
                self.now = self.now.max(at);
                self.pings = self.pings.wrapping_add(1);
                let id = PingId([self.pings; 12]);
                let Some(size) = self.mtu.due(id, most, Duration::ZERO, self.now) else { continue };
                count += 1;
                assert!(size <= most);
                if size <= carries {
                    assert!(self.mtu.answered(id, most, self.now));
                }
            }
            self.now = end;
            count
        }

        fn fits(&self) -> usize {
            self.mtu.fits(V4.parse().unwrap())
        }
    }

    #[test]
    fn ethernet_takes_one_ping_and_long_frames_two() {
        let mut way = Way::new();
        assert_eq!(way.fits(), 1440);
        assert_eq!(way.run(1500, 1500, Duration::from_secs(5)), 1);
        assert_eq!(way.fits(), 1440);
        let mut way = Way::new();
        assert_eq!(way.run(9000, 9000, Duration::from_secs(5)), 2);
        assert_eq!(way.fits(), 8940);
    }

    #[test]
    fn a_way_that_becomes_narrower_is_noticed_and_one_that_becomes_wider_in_the_end() {
        let mut way = Way::new();
        way.run(1500, 1500, Duration::from_secs(60));
        way.run(1400, 1500, Duration::from_secs(30));
        assert_eq!(way.fits(), 1340);
        way.run(1500, 1500, Duration::from_secs(700));
        assert_eq!(way.fits(), 1440);
    }

    #[test]
    fn too_long_for_the_usual_is_taken_for_the_least_until_more_is_known() {
        let mut way = Way::new();
        way.run(0, 1500, Duration::from_millis(700));
        assert_eq!(way.fits(), 1220);
    }

    #[test]
    fn pings_have_the_length_of_the_packet_that_they_stand_for() {
        assert_eq!(usize::from(room(1280, V4.parse().unwrap())) + PING_LEN + 28, 1280);
        assert_eq!(
            usize::from(room(1280, "[2001:db8::1]:1".parse().unwrap())) + PING_LEN + 48,
            1280
        );
        assert_eq!(
            room(1280, "[::ffff:192.0.2.1]:1".parse().unwrap()),
            room(1280, V4.parse().unwrap())
        );
    }

    proptest! {
        #[test]
        fn the_longest_that_passes_is_found_within_seconds(
            carries in 1280u16..=9000, most in prop_oneof![Just(1280), Just(1500), Just(9000)],
        ) {
            let mut way = Way::new();
            let pings = way.run(carries, most, Duration::from_secs(10));
            let best = SIZES.into_iter().rfind(|size| *size <= carries.min(most)).unwrap();
            prop_assert_eq!(way.fits(), usize::from(best) - 60);
            prop_assert!(pings <= 16, "{} pings", pings);
        }
    }
}
