//! How the policy bench names what it found.

pub(super) use crate::bench::samples::{Measure, NEARWIRE, Samples};

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
