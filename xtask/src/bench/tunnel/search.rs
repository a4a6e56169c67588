//! The search for the highest rate that holds: one step up or down at a time until a rate that holds
//! and one that does not are close together.

/// How much further a rate is tried while only one side is known.
const STRIDE: f64 = 1.4;
/// How close the two sides come: the precision of what is found.
const CLOSE: f64 = 1.05;
/// The most rates that are tried, for something that holds no rate, or each.
const MOST: u32 = 14;

/// A search under way.
pub(super) struct Search {
    guess: f64,
    holds: Option<f64>,
    fails: Option<f64>,
    tried: u32,
}

impl Search {
    /// Begins at a rate that may be near.
    pub(super) fn from(guess: f64) -> Self {
        Self { guess, holds: None, fails: None, tried: 0 }
    }

    /// The rate to try next; none when the search is over.
    pub(super) fn next(&self) -> Option<f64> {
        let rate = match (self.holds, self.fails) {
            (None, None) => self.guess,
            (Some(holds), None) => holds * STRIDE,
            (None, Some(fails)) => fails / STRIDE,
            (Some(holds), Some(fails)) if fails / holds > CLOSE => (holds * fails).sqrt(),
            (Some(_), Some(_)) => return None,
        };
        (self.tried < MOST).then_some(rate)
    }

    /// Tells that a rate held.
    pub(super) fn held(&mut self, rate: f64) {
        self.tried += 1;
        self.holds = Some(self.holds.map_or(rate, |holds| holds.max(rate)));
    }

    /// Tells that a rate did not hold.
    pub(super) fn failed(&mut self, rate: f64) {
        self.tried += 1;
        self.fails = Some(self.fails.map_or(rate, |fails| fails.min(rate)));
    }

    /// The highest rate that held; zero if none did.
    pub(super) fn found(&self) -> f64 {
        self.holds.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the search finds of something that holds up to `limit`, and in how many steps.
    fn search(guess: f64, limit: f64) -> (f64, u32) {
        let mut search = Search::from(guess);
        while let Some(rate) = search.next() {
            if rate <= limit { search.held(rate) } else { search.failed(rate) }
        }
        (search.found(), search.tried)
    }

    #[test]
    fn the_limit_is_found_from_above_and_below_in_few_steps() {
        for guess in [20_000.0, 70_000.0, 100_000.0, 130_000.0, 500_000.0] {
            let (found, steps) = search(guess, 100_000.0);
            assert!((95_000.0..=100_000.0).contains(&found), "{guess}: {found}");
            assert!(steps <= 10, "{guess}: {steps}");
        }
    }

    #[test]
    fn a_search_for_what_is_not_there_ends() {
        assert_eq!(search(100_000.0, 0.0), (0.0, MOST));
        let (found, steps) = search(1000.0, f64::INFINITY);
        assert!(found > 50_000.0);
        assert_eq!(steps, MOST);
    }
}
