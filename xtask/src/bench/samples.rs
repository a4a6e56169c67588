//! What a bench found, and the bounds that it must keep.

use std::collections::BTreeMap;

use super::{Against, Reach, Row, median};

/// By what name ours goes in the report.
pub(in crate::bench) const NEARWIRE: &str = "nearwire";

/// One kind of number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::bench) struct Measure {
    name: String,
    unit: &'static str,
}

impl Measure {
    pub(in crate::bench) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit }
    }

    pub(in crate::bench) fn name(&self) -> &str {
        &self.name
    }
}

/// The samples of each measure and contestant.
#[derive(Default)]
pub(in crate::bench) struct Samples(BTreeMap<(Measure, &'static str), Vec<f64>>);

impl Samples {
    pub(in crate::bench) fn add(&mut self, measure: Measure, who: &'static str, value: f64) {
        self.0.entry((measure, who)).or_default().push(value);
    }

    pub(in crate::bench) fn of(&self, measure: &Measure, who: &'static str) -> Vec<f64> {
        self.0.get(&(measure.clone(), who)).cloned().unwrap_or_default()
    }

    /// Our number, compared to nothing.
    pub(in crate::bench) fn alone(&self, measure: &Measure, reach: Option<Reach>) -> Row {
        Row::new(&measure.name, measure.unit, self.of(measure, NEARWIRE), None, reach)
    }

    /// Our number beside another's of the same measure.
    pub(in crate::bench) fn beside(
        &self,
        measure: &Measure,
        who: &'static str,
        reach: Option<Reach>,
    ) -> Row {
        self.against(measure, who, measure, who, reach)
    }

    /// Our number beside a number of another measure.
    pub(in crate::bench) fn against(
        &self,
        measure: &Measure,
        name: &str,
        other: &Measure,
        who: &'static str,
        reach: Option<Reach>,
    ) -> Row {
        let value = median(&self.of(other, who));
        let against = Some(Against { name: name.to_owned(), value });
        Row::new(&measure.name, measure.unit, self.of(measure, NEARWIRE), against, reach)
    }
}
