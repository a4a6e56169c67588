//! What was found, and the bounds that it must keep.

use std::collections::BTreeMap;

use crate::bench::{Against, Reach, Row, median};

/// By what name ours goes in the report.
pub(super) const NEARWIRE: &str = "nearwire";

/// One kind of number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Measure {
    name: String,
    unit: &'static str,
}

impl Measure {
    pub(super) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The samples of each measure and contestant.
#[derive(Default)]
pub(super) struct Samples(BTreeMap<(Measure, &'static str), Vec<f64>>);

impl Samples {
    pub(super) fn add(&mut self, measure: Measure, who: &'static str, value: f64) {
        self.0.entry((measure, who)).or_default().push(value);
    }

    pub(super) fn of(&self, measure: &Measure, who: &'static str) -> Vec<f64> {
        self.0.get(&(measure.clone(), who)).cloned().unwrap_or_default()
    }

    /// Our number, compared to nothing.
    pub(super) fn alone(&self, measure: &Measure, reach: Option<Reach>) -> Row {
        Row::new(&measure.name, measure.unit, self.of(measure, NEARWIRE), None, reach)
    }

    /// Our number beside another's of the same measure.
    pub(super) fn beside(&self, measure: &Measure, who: &'static str, reach: Option<Reach>) -> Row {
        self.against(measure, who, measure, who, reach)
    }

    /// Our number beside a number of another measure.
    pub(super) fn against(
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

/// A number of rules, as people write it.
pub(super) fn rules(count: u32) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} rules")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_rules_are_written_for_people() {
        let written = [10, 1000, 10_000, 100_000].map(rules);
        assert_eq!(written, ["10 rules", "1,000 rules", "10,000 rules", "100,000 rules"]);
    }
}
