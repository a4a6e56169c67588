//! Keeps lanes in the kernel for as long as the relay runs: tells the switch of the host's interfaces,
//! and has another take its place when it has failed.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Refused, Wish};
use crate::server::hub::{Ended, HubHandle, Offer, ToHub};
use crate::server::interfaces::{Interface, Netlink};

/// A first pause before another switch is tried. What makes one fail may be over soon.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest: to hang a program may cost a driver its link for a moment.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Ends when the switch it belongs to is no more.
pub(in crate::server) type Lost = oneshot::Receiver<Infallible>;

/// See the module.
pub(in crate::server) struct Keeper {
    netlink: Netlink,
    wish: Wish,
    switch: State,
    pauses: Pauses,
}

/// What the hub has.
enum State {
    /// A switch, until that is lost.
    Hangs(Lost),
    /// None: one is due then, and before if interfaces may bring it.
    Wished { due: Option<Instant>, may_come: bool },
}

/// What is to be done next.
enum Event {
    Changed,
    Lost,
    Due,
}

impl Keeper {
    /// The hub has a switch, or is to get one when there is an interface for it.
    pub(in crate::server) fn new(netlink: Netlink, wish: Wish, hangs: Option<Lost>) -> Self {
        let none = State::Wished { due: None, may_come: true };
        let pauses = Pauses::new(hangs.is_some().then(Instant::now));
        Self { netlink, wish, switch: hangs.map_or(none, State::Hangs), pauses }
    }

    /// Does so until the hub has ended, or nobody tells of changes any more.
    pub(in crate::server) async fn keep(mut self, hub: HubHandle) {
        while let Some(event) = self.event().await {
            if let Event::Lost = event {
                let due = Some(self.pauses.failed(Instant::now()));
                self.switch = State::Wished { due, may_come: false };
                continue;
            }
            let interfaces = match self.netlink.interfaces().await {
                Ok(interfaces) => interfaces,
                Err(error) => {
                    tracing::warn!("{error:#}");
                    continue;
                }
            };
            let told = match self.switch {
                State::Hangs(_) => hub.tell(ToHub::Interfaces(interfaces)).await,
                State::Wished { .. } => self.offer(interfaces, &hub).await,
            };
            if told.is_err() {
                return;
            }
        }
    }

    async fn event(&mut self) -> Option<Event> {
        loop {
            let (lost, due, listens) = match &mut self.switch {
                State::Hangs(lost) => (Some(lost), None, true),
                State::Wished { due, may_come } => (None, *due, *may_come),
            };
            let at = due.unwrap_or_else(Instant::now);
            tokio::select! {
                changed = self.netlink.changed() => match changed {
                    Ok(()) if listens => return Some(Event::Changed),
                    Ok(()) => {}
                    Err(_) => return None,
                },
                Some(_) = async { Some(lost?.await) } => return Some(Event::Lost),
                () = tokio::time::sleep_until(at), if due.is_some() => return Some(Event::Due),
            }
        }
    }

    /// Has the hub try what is wished for on these interfaces.
    async fn offer(&mut self, interfaces: Vec<Interface>, hub: &HubHandle) -> Result<(), Ended> {
        let wish = self.wish.clone();
        // The hub would not wait for the kernel to read a program.
        let loading = tokio::task::spawn_blocking(move || {
            let loaded = wish.load(&interfaces);
            (loaded, interfaces)
        });
        let (loaded, interfaces) = loading.await.map_err(|_| Ended)?;
        let (kernel, lost, may_come) = match loaded {
            Ok((kernel, lost)) => (Ok(kernel), Some(lost), true),
            Err(Refused { why, may_come }) => (Err(why), None, may_come),
        };
        let (reply, taken) = oneshot::channel();
        hub.tell(ToHub::Switch(Box::new(Offer { kernel, interfaces, reply }))).await?;
        let taken = taken.await.map_err(|_| Ended)?;
        let now = Instant::now();
        self.switch = match lost.filter(|_| taken) {
            Some(lost) => {
                self.pauses.hangs(now);
                State::Hangs(lost)
            }
            None => State::Wished { due: Some(self.pauses.failed(now)), may_come },
        };
        Ok(())
    }
}

/// How long to wait after each failure: twice as long as before, if what was tried did not last.
struct Pauses {
    next: Duration,
    since: Option<Instant>,
}

impl Pauses {
    const fn new(since: Option<Instant>) -> Self {
        Self { next: PAUSE, since }
    }

    const fn hangs(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// When to try again.
    fn failed(&mut self, now: Instant) -> Instant {
        let since = self.since.take();
        if since.is_some_and(|since| now.duration_since(since) >= LONGEST_PAUSE) {
            self.next = PAUSE;
        }
        let due = now + self.next;
        self.next = (2 * self.next).min(LONGEST_PAUSE);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_switch_has_lasted() {
        let mut now = Instant::now();
        let mut pauses = Pauses::new(Some(now));
        for seconds in [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600] {
            let due = pauses.failed(now);
            assert_eq!(due - now, Duration::from_secs(seconds));
            now = due;
            pauses.hangs(now);
            now += Duration::from_secs(1);
        }
        pauses.hangs(now);
        now += LONGEST_PAUSE;
        assert_eq!(pauses.failed(now) - now, PAUSE);
    }
}
