//! What is measured, and what was found.

use std::collections::BTreeMap;

/// One kind of number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) better: Better,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
}

impl Measure {
    /// One of which more is better.
    pub(super) const fn more(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, better: Better::More }
    }

    /// One of which less is better.
    pub(super) const fn less(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, better: Better::Less }
    }
}

/// A number that was found in a turn.
pub(super) type Sample = (Measure, f64);

/// The most memory of either end, whatever the work.
pub(super) const MEMORY: Measure = Measure::less("peak memory under load", "MiB");

/// The samples of each measure and contestant, by their names.
#[derive(Default)]
pub(super) struct Samples(BTreeMap<(&'static str, &'static str), Vec<f64>>);

impl Samples {
    /// Adds what a turn found.
    pub(super) fn add(&mut self, turn: BTreeMap<(&'static str, &'static str), f64>) {
        for (key, value) in turn {
            self.0.entry(key).or_default().push(value);
        }
    }

    /// Those of one contestant.
    pub(super) fn of(&self, measure: Measure, name: &'static str) -> Vec<f64> {
        self.0.get(&(measure.name, name)).cloned().unwrap_or_default()
    }
}
