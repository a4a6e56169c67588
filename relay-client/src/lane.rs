//! An end of a lane over UDP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto::lane::{
    Cookie, LANE_HEADER_LEN, LaneId, LaneMessage, LaneRefusal, LaneSecret, Proof, data_header,
};
use proto::relay::LaneOpened;

/// The first wait for an answer; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// How long nothing may come on a lane that is sent on before it is asked whether it stands: our address may be
/// another, which only the relay can tell.
const SILENCE: Duration = Duration::from_millis(500);
/// Keepalives without an answer after which the address is proven anew.
const LOST: u32 = 2;

/// An end, from the time that the lane is opened.
pub struct LaneEnd {
    lane: LaneId,
    secret: LaneSecret,
    lifetime: Duration,
    state: State,
    /// Of the latest proof.
    nonce: u64,
    wait: Duration,
    due: Instant,
    /// When the relay was heard on it last.
    heard: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A bind is to be sent, or waits for its challenge.
    Binding,
    /// A proof is to be sent, or waits for its answer.
    Proving(Cookie),
    /// Bound; so many keepalives are not answered.
    Bound(u32),
    /// The relay does not know the lane.
    Lost,
}

/// What a datagram of the relay means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneEvent<'a> {
    /// A packet from the other end.
    Packet(&'a [u8]),
    /// The end is bound; the relay sees it at this address.
    Bound(SocketAddr),
    /// The relay does not know the lane any more: open another.
    Lost,
}

impl LaneEnd {
    /// An end that binds as soon as it is asked what to send. `nonce` must be greater than those of an
    /// earlier life of the same lane: the time, say.
    #[must_use]
    pub fn new(opened: &LaneOpened, nonce: u64, now: Instant) -> Self {
        Self {
            lane: opened.lane,
            secret: opened.secret.clone(),
            lifetime: Duration::from_secs(opened.lifetime.max(1).into()),
            state: State::Binding,
            nonce,
            wait: FIRST_WAIT,
            due: now,
            heard: now,
        }
    }

    /// The id of this end.
    #[must_use]
    pub const fn id(&self) -> LaneId {
        self.lane
    }

    /// What stands before each packet that is sent.
    #[must_use]
    pub fn header(&self) -> [u8; LANE_HEADER_LEN] {
        data_header(self.lane)
    }

    /// Whether packets may be sent.
    #[must_use]
    pub const fn is_bound(&self) -> bool {
        matches!(self.state, State::Bound(_))
    }

    /// Our address may have changed: prove the new one.
    pub fn rebind(&mut self, now: Instant) {
        if self.state != State::Lost {
            (self.state, self.wait, self.due) = (State::Binding, FIRST_WAIT, now);
        }
    }

    /// A packet was sent; whether there is something to be sent sooner for it.
    pub fn sent(&mut self, now: Instant) -> bool {
        let silent = now.saturating_duration_since(self.heard) >= SILENCE;
        let asks = silent && self.state == State::Bound(0) && self.due > now;
        if asks {
            self.due = now;
        }
        asks
    }

    /// When [`poll_transmit`](Self::poll_transmit) has something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.state != State::Lost).then_some(self.due)
    }

    /// What is to be sent to the relay now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.poll_timeout()? > now {
            return None;
        }
        let message = match self.state {
            State::Bound(unanswered) if unanswered < LOST => {
                self.state = State::Bound(unanswered + 1);
                self.due = now + FIRST_WAIT * 2;
                LaneMessage::Keepalive(self.lane, u64::from(unanswered))
            }
            State::Proving(cookie) if self.wait == FIRST_WAIT => {
                self.nonce += 1;
                self.waiting(now);
                LaneMessage::Prove(Proof::new(&self.secret, self.lane, cookie, self.nonce))
            }
            // A proof or its answer was lost: the cookie may be too old, so all begins anew.
            State::Bound(_) | State::Proving(_) | State::Binding => {
                if self.state != State::Binding {
                    (self.state, self.wait) = (State::Binding, FIRST_WAIT);
                }
                self.waiting(now);
                LaneMessage::Bind(self.lane)
            }
            State::Lost => return None,
        };
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        Some(bytes)
    }

    /// Takes a datagram from the relay; `None` if it means nothing to the caller.
    pub fn receive<'a>(&mut self, datagram: &'a [u8], now: Instant) -> Option<LaneEvent<'a>> {
        match (LaneMessage::parse(datagram)?, self.state) {
            (LaneMessage::Data(lane, payload), _) if lane == self.lane => {
                self.heard = now;
                Some(LaneEvent::Packet(payload))
            }
            (LaneMessage::Challenge(lane, cookie), State::Binding) if lane == self.lane => {
                (self.state, self.wait, self.due) = (State::Proving(cookie), FIRST_WAIT, now);
                None
            }
            (LaneMessage::Bound(bound), State::Proving(_))
                if bound.lane == self.lane && bound.is_by(&self.secret, self.nonce) =>
            {
                self.lifetime = Duration::from_secs(bound.lifetime.max(1).into());
                (self.state, self.due) = (State::Bound(0), now + self.lifetime / 3);
                self.heard = now;
                Some(LaneEvent::Bound(bound.address))
            }
            (LaneMessage::Kept(lane, _), State::Bound(_)) if lane == self.lane => {
                (self.state, self.due) = (State::Bound(0), now + self.lifetime / 3);
                self.heard = now;
                None
            }
            (LaneMessage::Refused(lane, why), state) if lane == self.lane => {
                self.refused(why, state, now)
            }
            _ => None,
        }
    }

    /// A refusal is not authentic, so it costs at most one more proof.
    fn refused(
        &mut self,
        why: LaneRefusal,
        state: State,
        now: Instant,
    ) -> Option<LaneEvent<'static>> {
        match (why, state) {
            (LaneRefusal::Unknown, State::Binding) => {
                self.state = State::Lost;
                Some(LaneEvent::Lost)
            }
            (_, State::Bound(_)) => {
                self.rebind(now);
                None
            }
            // The next try is due anyway.
            (_, State::Binding | State::Proving(_) | State::Lost) => None,
        }
    }

    fn waiting(&mut self, now: Instant) {
        self.due = now + self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use proto::key::PublicKey;
    use proto::lane::Bound;

    use super::*;

    fn opened() -> LaneOpened {
        LaneOpened {
            peer: PublicKey::from([1; 32]),
            lane: LaneId::from_number(7).unwrap(),
            secret: LaneSecret::from([2; 16]),
            lifetime: 30,
            addresses: Vec::new(),
        }
    }

    fn bytes(message: LaneMessage<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        bytes
    }

    fn sent(end: &mut LaneEnd, now: Instant) -> Option<u8> {
        end.poll_transmit(now).map(|bytes| bytes[3])
    }

    const ADDRESS: &str = "192.0.2.1:9";

    /// A bound end.
    fn bound(now: Instant) -> LaneEnd {
        let mut end = LaneEnd::new(&opened(), 100, now);
        assert_eq!(sent(&mut end, now), Some(1));
        let challenge = bytes(LaneMessage::Challenge(end.id(), Cookie([3; 16])));
        assert_eq!(end.receive(&challenge, now), None);
        assert_eq!(sent(&mut end, now), Some(3));
        let address = ADDRESS.parse().unwrap();
        let forged = Bound::new(&LaneSecret::from([9; 16]), end.id(), 101, address, 30);
        assert_eq!(end.receive(&bytes(LaneMessage::Bound(forged)), now), None);
        let right = Bound::new(&opened().secret, end.id(), 101, address, 30);
        let right = bytes(LaneMessage::Bound(right));
        assert_eq!(end.receive(&right, now), Some(LaneEvent::Bound(address)));
        end
    }

    #[test]
    fn it_binds_proves_and_keeps() {
        let now = Instant::now();
        let mut end = bound(now);
        assert_eq!(sent(&mut end, now), None);
        let later = now + Duration::from_secs(10);
        assert_eq!(sent(&mut end, later), Some(5));
        end.receive(&bytes(LaneMessage::Kept(end.id(), 0)), later);
        assert_eq!(end.poll_timeout(), Some(later + Duration::from_secs(10)));
        assert_eq!(
            end.receive(&bytes(LaneMessage::Data(end.id(), b"x")), later),
            Some(LaneEvent::Packet(b"x"))
        );
        let other = LaneId::from_number(8).unwrap();
        assert_eq!(end.receive(&bytes(LaneMessage::Data(other, b"x")), later), None);
    }

    #[test]
    fn what_is_lost_is_sent_again_and_ever_more_seldom() {
        let mut now = Instant::now();
        let mut end = LaneEnd::new(&opened(), 1, now);
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(sent(&mut end, now), Some(1));
            let due = end.poll_timeout().unwrap();
            waits.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 4000, 4000]);
        end.receive(&bytes(LaneMessage::Challenge(end.id(), Cookie([3; 16]))), now);
        assert_eq!(sent(&mut end, now), Some(3));
        assert_eq!(sent(&mut end, now + FIRST_WAIT), Some(1), "a lost proof begins anew");
    }

    #[test]
    fn a_lane_that_brings_nothing_is_asked_about() {
        let now = Instant::now();
        let mut end = bound(now);
        assert!(!end.sent(now) && !end.sent(now + SILENCE / 2), "something came a moment ago");
        let later = now + SILENCE;
        assert!(end.sent(later) && !end.sent(later), "once");
        assert_eq!(sent(&mut end, later), Some(5));
        assert!(!end.sent(later), "it is asked already");
        end.receive(&bytes(LaneMessage::Kept(end.id(), 0)), later);
        assert!(!end.sent(later + SILENCE / 2) && end.sent(later + SILENCE));
        assert_eq!(sent(&mut end, later + SILENCE), Some(5));
        let not_bound = LaneMessage::Refused(end.id(), LaneRefusal::NotBound);
        assert_eq!(end.receive(&bytes(not_bound), later + SILENCE), None);
        assert_eq!(sent(&mut end, later + SILENCE), Some(1), "it is proven anew at once");
    }

    #[test]
    fn unanswered_keepalives_and_refusals_prove_anew() {
        let now = Instant::now();
        let mut end = bound(now);
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let due = end.poll_timeout().unwrap();
            kinds.extend(sent(&mut end, due));
        }
        assert_eq!(kinds, [5, 5, 1]);
        let mut end = bound(now);
        let refused = |why| bytes(LaneMessage::Refused(LaneId::from_number(7).unwrap(), why));
        assert_eq!(end.receive(&refused(LaneRefusal::NotBound), now), None);
        assert_eq!(sent(&mut end, now), Some(1));
        assert_eq!(end.receive(&refused(LaneRefusal::Unknown), now), Some(LaneEvent::Lost));
        assert_eq!((end.poll_timeout(), sent(&mut end, now + LONGEST_WAIT)), (None, None));
    }
}
