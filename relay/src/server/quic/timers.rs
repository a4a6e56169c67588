//! When to look at which connection. A connection's next moment moves with each packet, mostly to later:
//! it is looked up again when an earlier one has come, not each time that it moves.

use std::collections::BTreeSet;
use std::time::Instant;

use quinn_proto::ConnectionHandle;

/// A moment for each connection.
#[derive(Default)]
pub(super) struct Timers(BTreeSet<(Instant, usize)>);

impl Timers {
    /// Looks at a connection at this time, or earlier; `armed` is the connection's own.
    pub(super) fn arm(
        &mut self,
        connection: ConnectionHandle,
        armed: &mut Option<Instant>,
        at: Option<Instant>,
    ) {
        let Some(at) = at.filter(|at| armed.is_none_or(|armed| *at < armed)) else { return };
        self.forget(connection, armed);
        self.0.insert((at, connection.0));
        *armed = Some(at);
    }

    /// Looks at it no more.
    pub(super) fn forget(&mut self, connection: ConnectionHandle, armed: &mut Option<Instant>) {
        if let Some(armed) = armed.take() {
            self.0.remove(&(armed, connection.0));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// A connection that is to be looked at: it is not armed any more.
    pub(super) fn pop(&mut self, now: Instant) -> Option<ConnectionHandle> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop_first().map(|(_, connection)| ConnectionHandle(connection))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_is_there_once_at_its_earliest() {
        let start = Instant::now();
        let at = |seconds| Some(start + Duration::from_secs(seconds));
        let (mut timers, mut one, mut other) = (Timers::default(), None, None);
        timers.arm(ConnectionHandle(1), &mut one, at(10));
        timers.arm(ConnectionHandle(2), &mut other, at(8));
        timers.arm(ConnectionHandle(1), &mut one, at(5));
        timers.arm(ConnectionHandle(1), &mut one, at(20));
        timers.arm(ConnectionHandle(1), &mut one, None);
        assert_eq!((one, timers.next()), (at(5), at(5)));
        assert_eq!(timers.pop(start), None);
        let late = start + Duration::from_secs(60);
        assert_eq!(timers.pop(late), Some(ConnectionHandle(1)));
        timers.forget(ConnectionHandle(2), &mut other);
        assert_eq!((timers.pop(late), other), (None, None));
    }
}
