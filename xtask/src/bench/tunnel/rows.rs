//! The comparisons: every measure beside everyone who was measured, and what has to be reached.

use super::field::{BORINGTUN, GOTATUN, LINK, NEARWIRE, OTHERS, PEERS, WIREGUARD_GO};
use super::measures::{Better, MEMORY, Measure, Samples};
use super::work::{Work, latency, tcp, udp};
use crate::bench::{Against, Reach, Row, median};

/// Whom a bound speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    /// This one.
    Peer(&'static str),
    /// Whichever peer does best.
    Best,
    /// Nobody: it binds the number itself.
    Nobody,
}

/// What has to be reached.
const BOUNDS: [(Measure, With, Reach); 15] = [
    (tcp::ONE, With::Peer(WIREGUARD_GO), Reach::AtLeast(6.5)),
    (tcp::ONE, With::Peer(BORINGTUN), Reach::AtLeast(5.5)),
    (tcp::ONE, With::Peer(GOTATUN), Reach::AtLeast(4.2)),
    (tcp::FOUR, With::Peer(WIREGUARD_GO), Reach::AtLeast(6.5)),
    (tcp::FOUR, With::Peer(BORINGTUN), Reach::AtLeast(5.5)),
    (tcp::FOUR, With::Peer(GOTATUN), Reach::AtLeast(4.2)),
    (tcp::CPU, With::Peer(GOTATUN), Reach::AtMost(0.22)),
    (udp::CPU, With::Peer(GOTATUN), Reach::AtMost(0.4)),
    (udp::SMALL, With::Best, Reach::AtLeast(2.0)),
    (latency::IDLE_50, With::Peer(BORINGTUN), Reach::AtMost(0.7)),
    (latency::IDLE_99, With::Peer(BORINGTUN), Reach::AtMost(0.7)),
    (latency::BUSY_50, With::Peer(BORINGTUN), Reach::AtMost(0.7)),
    (latency::BUSY_99, With::Peer(BORINGTUN), Reach::AtMost(0.7)),
    (latency::LOADED_99, With::Best, Reach::AtMost(0.5)),
    (MEMORY, With::Nobody, Reach::AtMost(64.0)),
];

/// The rows of some works.
pub(super) fn of(samples: &Samples, works: &[Work]) -> Vec<Row> {
    let measures = works.iter().flat_map(|work| work.measures());
    // A thousand peers have a measure of their own.
    let memory = works.iter().any(|work| *work != Work::Peers).then_some(&MEMORY);
    measures.chain(memory).flat_map(|measure| of_one(samples, *measure)).collect()
}

fn of_one(samples: &Samples, measure: Measure) -> Vec<Row> {
    let ours = samples.of(measure, NEARWIRE);
    let value = |name| median(&samples.of(measure, name));
    let reach = |with: With| {
        let mut bounds = BOUNDS.iter();
        bounds.find(|(of, whom, _)| of.name == measure.name && *whom == with).map(|bound| bound.2)
    };
    let best = reach(With::Best).and_then(|reach| Some((best(measure, value)?, reach)));
    let mut rows = Vec::new();
    if let Some(reach) = reach(With::Nobody) {
        rows.push(Row::new(measure.name, measure.unit, ours.clone(), None, Some(reach)));
    }
    for name in OTHERS {
        let value = value(name);
        if name == LINK && value.is_none() {
            // It does not do all works.
            continue;
        }
        let (name, reach) = match best {
            Some((best, reach)) if best == name => (format!("{name}, best of them"), Some(reach)),
            _ => (name.to_owned(), reach(With::Peer(name))),
        };
        let against = Some(Against { name, value });
        rows.push(Row::new(measure.name, measure.unit, ours.clone(), against, reach));
    }
    rows
}

/// The peer with the best number.
fn best(measure: Measure, value: impl Fn(&'static str) -> Option<f64>) -> Option<&'static str> {
    let with = PEERS.into_iter().filter_map(|name| Some((name, value(name)?)));
    let best = match measure.better {
        Better::More => with.max_by(|a, b| a.1.total_cmp(&b.1)),
        Better::Less => with.min_by(|a, b| a.1.total_cmp(&b.1)),
    };
    best.map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rows(measure: Measure, found: &[(&'static str, f64)]) -> Vec<(String, Option<bool>)> {
        let mut samples = Samples::default();
        let turn = found.iter().map(|(name, value)| ((measure.name, *name), *value));
        samples.add(turn.collect::<BTreeMap<_, _>>());
        let name = |row: &Row| row.against.as_ref().map_or(String::new(), |o| o.name.clone());
        of_one(&samples, measure).iter().map(|row| (name(row), row.pass)).collect()
    }

    fn named(name: &str, pass: Option<bool>) -> (String, Option<bool>) {
        (name.to_owned(), pass)
    }

    #[test]
    fn the_best_of_them_is_bound_and_who_is_missing_is_named() {
        let found = [(NEARWIRE, 100.0), (WIREGUARD_GO, 60.0), (GOTATUN, 40.0), (LINK, 500.0)];
        assert_eq!(
            rows(udp::SMALL, &found),
            [
                named("wireguard-go, best of them", Some(false)),
                named("boringtun-cli", None),
                named("gotatun", None),
                named("bare veth", None),
            ]
        );
        // Of a latency the least is the best.
        let best = &rows(latency::LOADED_99, &found)[2];
        assert_eq!(*best, named("gotatun, best of them", Some(false)));
    }

    #[test]
    fn a_bound_on_the_number_itself_is_a_row_of_its_own() {
        let rows = rows(MEMORY, &[(NEARWIRE, 10.0), (GOTATUN, 5.0)]);
        assert_eq!(rows[0], named("", Some(true)));
        assert_eq!(rows[3], named("gotatun", None));
    }

    #[test]
    fn every_bound_is_of_a_measure_that_is_measured() {
        for (bound, ..) in BOUNDS {
            let measured = Work::ALL.iter().flat_map(|work| work.measures()).chain(&[MEMORY]);
            assert_eq!(measured.filter(|of| of.name == bound.name).count(), 1, "{}", bound.name);
        }
    }
}
