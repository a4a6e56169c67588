//! How many of a peer's messages arrive: sessions number them, so what is missing is known.

use proto::message::SessionIndex;
use proto::probe::Received;

/// Counts for one peer. Both sessions of a change are told apart: their messages mix.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Messages {
    sessions: [Option<Session>; 2],
    so_far: Received,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    index: SessionIndex,
    /// One more than the highest number that came.
    next: u64,
}

impl Messages {
    /// An authentic one came.
    pub(crate) fn arrived(&mut self, index: SessionIndex, counter: u64) {
        self.so_far.arrived = self.so_far.arrived.wrapping_add(1);
        let known = self.sessions.iter_mut().flatten().find(|session| session.index == index);
        let session = match known {
            Some(session) => session,
            None => {
                self.sessions[1] = self.sessions[0];
                self.sessions[0].insert(Session { index, next: 0 })
            }
        };
        if counter >= session.next {
            // Both wrap, and are read so.
            let more = (counter + 1 - session.next) & u64::from(u32::MAX);
            let more = u32::try_from(more).unwrap_or_default();
            session.next = counter + 1;
            self.so_far.expected = self.so_far.expected.wrapping_add(more);
        }
    }

    pub(crate) const fn so_far(&self) -> Received {
        self.so_far
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_known_across_sessions_and_out_of_order() {
        let mut messages = Messages::default();
        let mut arrive = |session, counter| messages.arrived(SessionIndex(session), counter);
        // One of six is lost, two change places, and the next session begins between them.
        for (session, counter) in [(1, 0), (1, 2), (1, 1), (2, 0), (1, 4), (2, 1), (1, 5)] {
            arrive(session, counter);
        }
        assert_eq!(messages.so_far(), Received { expected: 8, arrived: 7 });
    }
}
