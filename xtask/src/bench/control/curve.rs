//! What was found, by number of nodes; and where it leads.

use super::Setting;
use super::load::Found;
use crate::bench::{Reach, Row};

/// What was found at each step.
pub(super) struct Curve(pub(super) Vec<Found>);

/// For how many nodes it is reckoned on paper.
const ON_PAPER: f64 = 100_000.0;
/// A change has to be everywhere within so many seconds.
const SOON: Reach = Reach::AtMost(1.0);

impl Curve {
    pub(super) fn rows(&self, setting: Setting) -> Vec<Row> {
        self.0.iter().flat_map(|found| rows(setting, found)).collect()
    }

    /// A line through the last two steps, on to more nodes.
    pub(super) fn on_paper(&self, setting: Setting) -> Option<String> {
        let [.., before, last] = self.0.as_slice() else { return None };
        let at = |value: fn(&Found) -> f64| {
            let (from, to) = (f64::from(before.nodes), f64::from(last.nodes));
            let slope = (value(last) - value(before)) / (to - from);
            (value(last) + slope * (ON_PAPER - to)).max(0.0)
        };
        let memory = at(|found| found.memory * f64::from(found.nodes)) / f64::from(1 << 30);
        let heard = at(|found| found.for_all.p99);
        let (cpu, few) = (at(|found| found.for_all.cpu), at(|found| found.for_few.cpu) * 1e3);
        Some(format!(
            "{}, 100,000 nodes on paper (the line through the last two steps): {memory:.1} GiB, \
             p99 {heard:.1} s and {cpu:.1} CPU s for a change that concerns all, {few:.2} CPU ms \
             for one that concerns the hubs",
            setting.name()
        ))
    }
}

fn rows(setting: Setting, found: &Found) -> Vec<Row> {
    let row = |what: &str, unit, value, reach| {
        let name = format!("{}, {} nodes: {what}", setting.name(), found.nodes);
        Row::new(name, unit, vec![value], None, reach)
    };
    let each = |cpu: f64, concerned: u32| cpu / f64::from(concerned.max(1)) * 1e6;
    vec![
        row("joins", "/s", found.joins, None),
        row("CPU of a join", "ms", found.join_cpu * 1e3, None),
        row("resident memory of a node", "KiB", found.memory / 1024.0, None),
        row("a hub moves, p50 of all", "s", found.for_all.p50, None),
        row("a hub moves, p99 of all", "s", found.for_all.p99, Some(SOON)),
        row(
            "a hub moves, CPU for each concerned",
            "us",
            each(found.for_all.cpu, found.for_all.concerned),
            None,
        ),
        row(
            "a hub moves, CPU for each with what idleness takes",
            "us",
            each(found.for_all.gross, found.for_all.concerned),
            None,
        ),
        row("a client moves, p99 of the hubs", "s", found.for_few.p99, Some(SOON)),
        row("a client moves, CPU", "ms", found.for_few.cpu * 1e3, None),
        row("a client moves, CPU with what idleness takes", "ms", found.for_few.gross * 1e3, None),
        row("another policy, p99 of all", "s", found.policy.p99, Some(SOON)),
        row(
            "another policy, CPU for each concerned",
            "us",
            each(found.policy.cpu, found.policy.concerned),
            None,
        ),
        row(
            "another policy, CPU for each with what idleness takes",
            "us",
            each(found.policy.gross, found.policy.concerned),
            None,
        ),
        row("CPU when nothing happens", "%", found.idle * 100.0, None),
    ]
}
