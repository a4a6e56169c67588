//! What becomes of flows: told by the kernel, kept for whoever follows, and written to a log.

mod log;
mod record;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use dataplane::{EndReason, Event, EventKind, Events, Flow, FlowKey, Loss, Nanos};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until};

use super::policy::Policy;
use log::FlowLog;
pub(crate) use record::Record;
use record::{Happened, Subject};

use crate::io::{awaited, clock};

/// Records that a slow follower may be behind.
const BEHIND_LIMIT: usize = 8_192;
/// The kernel tells events one by one; they are taken together.
const GATHER: Duration = Duration::from_millis(100);
/// Events that are taken before other work has its turn.
const EVENT_LIMIT: usize = 16_384;
/// How often flows are looked through for those whose lifetime is over.
const SWEEP: Duration = Duration::from_secs(5);

/// The flows of a policy, and what was not told of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flows {
    /// Those that are open.
    pub(crate) flows: Vec<Record>,
    /// Events that were not told since the programs were loaded, by the reason.
    pub(crate) lost: BTreeMap<String, u64>,
}

/// The daemon's end of the kernel's events.
pub(super) struct FlowWatch {
    events: Events,
    /// Says when there are some.
    ready: AsyncFd<OwnedFd>,
    followers: broadcast::Sender<Arc<Record>>,
    log: Option<FlowLog>,
    /// When to take the events that the kernel has told of.
    gathered_at: Option<Instant>,
    next_sweep: Instant,
}

/// What the daemon is to do about flows.
pub(super) enum Due {
    /// Take the events that the kernel has told.
    Events,
    /// Look for flows whose lifetime is over.
    Sweep,
}

impl FlowWatch {
    /// Listens to the events of a policy, and writes them to this file, if it is given.
    pub(super) fn new(policy: &mut Policy, log: Option<&Path>) -> anyhow::Result<Self> {
        let programs = policy.enforced.programs_mut();
        let events = programs.take_events().context("cannot open the policy's events")?;
        let events = events.context("the policy's events are taken already")?;
        let ready = events
            .as_fd()
            .try_clone_to_owned()
            .and_then(awaited)
            .context("cannot wait for the policy's events")?;
        Ok(Self {
            events,
            ready,
            followers: broadcast::Sender::new(BEHIND_LIMIT),
            log: log.map(FlowLog::open).transpose()?,
            gathered_at: None,
            next_sweep: Instant::now() + SWEEP,
        })
    }

    /// What happens from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<Record>> {
        self.followers.subscribe()
    }

    /// The log's file may have been moved away.
    pub(super) fn reopen_log(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }

    /// Waits until there is something to do. It may be given up and asked again.
    pub(super) async fn due(&mut self) -> std::io::Result<Due> {
        if self.gathered_at.is_none() {
            tokio::select! {
                // The kernel wakes us for the first of them only.
                ready = self.ready.readable() => ready?.clear_ready(),
                () = sleep_until(self.next_sweep) => return Ok(Due::Sweep),
            }
        }
        let gathered_at = *self.gathered_at.get_or_insert_with(|| Instant::now() + GATHER);
        sleep_until(gathered_at).await;
        Ok(Due::Events)
    }

    /// Does what is due.
    pub(super) fn handle(&mut self, due: &Due, policy: &mut Policy) {
        let clocks = Clocks::now();
        // Those that were told before a sweep come before what it tells.
        self.take_events(policy, clocks);
        if matches!(due, Due::Sweep) {
            self.sweep(policy, clocks);
        }
    }

    fn take_events(&mut self, policy: &Policy, clocks: Clocks) {
        self.gathered_at = None;
        for _ in 0..EVENT_LIMIT {
            let Some(event) = self.events.next() else { return };
            self.tell(&event, policy, clocks);
        }
        // There are more, and the kernel will not say so again.
        self.gathered_at = Some(Instant::now());
    }

    fn sweep(&mut self, policy: &Policy, clocks: Clocks) {
        self.next_sweep = Instant::now() + SWEEP;
        for (key, flow) in policy.enforced.programs().expire(clocks.kernel) {
            let kind = EventKind::End(EndReason::Expired);
            self.tell(&Event::of_flow(kind, clocks.kernel, &key, &flow), policy, clocks);
        }
    }

    fn tell(&mut self, event: &Event, policy: &Policy, clocks: Clocks) {
        let record = Arc::new(event_record(event, policy, clocks));
        if let Some(log) = &mut self.log {
            log.record(&record);
        }
        // Nobody follows: that is well.
        let _ = self.followers.send(record);
    }

    /// The flows of now.
    pub(super) fn flows(&self, policy: &Policy) -> anyhow::Result<Flows> {
        let clocks = Clocks::now();
        let programs = policy.enforced.programs();
        let open = programs.flows();
        let flows = open
            .iter()
            .filter(|(key, flow)| !flow.ended() && !flow.expired(key.protocol(), clocks.kernel))
            .map(|(key, flow)| flow_record(key, flow, policy, clocks))
            .collect();
        let mut lost: BTreeMap<String, u64> = programs
            .losses()
            .context("cannot read what was lost of the policy's events")?
            .into_iter()
            .map(|(loss, count): (Loss, u64)| (loss.label().to_owned(), count))
            .collect();
        if let Some(log) = &self.log {
            lost.insert("log_full".into(), log.lost());
        }
        Ok(Flows { flows, lost })
    }
}

/// The wall clock and the kernel's at one moment, to tell one by the other.
#[derive(Clone, Copy)]
struct Clocks {
    wall: SystemTime,
    kernel: Nanos,
}

impl Clocks {
    fn now() -> Self {
        Self { wall: SystemTime::now(), kernel: clock::kernel() }
    }

    fn wall_at(self, at: Nanos) -> SystemTime {
        self.wall - Duration::from_nanos(self.kernel.0.saturating_sub(at.0))
    }
}

fn event_record(event: &Event, policy: &Policy, clocks: Clocks) -> Record {
    let (happened, reason) = match event.kind {
        EventKind::Start => (Happened::Start, None),
        EventKind::End(reason) => (Happened::End, Some(reason.label())),
        EventKind::Denial(reason) => (Happened::Denied, Some(reason.label())),
    };
    let subject = Subject {
        key: &event.key,
        direction: event.direction,
        rule: event.rule.and_then(|rule| policy.rule(event.generation, rule)),
        generation: event.generation,
        sent: event.sent,
        received: event.received,
        duration: Duration::from_nanos(event.at.0.saturating_sub(event.opened.0)),
    };
    Record::new(clocks.wall_at(event.at), happened, reason, &subject)
}

/// A flow that is open now.
pub(super) fn flow_record_now(key: &FlowKey, flow: &Flow, policy: &Policy) -> Record {
    flow_record(key, flow, policy, Clocks::now())
}

fn flow_record(key: &FlowKey, flow: &Flow, policy: &Policy, clocks: Clocks) -> Record {
    let event = Event::of_flow(EventKind::Start, clocks.kernel, key, flow);
    let record = event_record(&event, policy, clocks);
    // What the rule says is in the policy's status; here are very many.
    Record { event: Happened::Open, rule: None, ..record }
}
