//! A list of things to do in order: each is announced and timed, and a failure says the mend.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

/// One thing to do.
pub(crate) struct Step {
    /// What is being done, as a heading.
    pub(crate) name: &'static str,
    /// What to do about a failure.
    pub(crate) mend: &'static str,
    /// Does it; may return a remark for the summary.
    pub(crate) work: fn(&mut Run) -> Result<Option<String>>,
}

/// What the steps of one run share.
#[derive(Default)]
pub(crate) struct Run {
    /// Only tests whose names contain this.
    pub(crate) filter: Option<String>,
    /// What runs in the cells of the matrix.
    pub(crate) matrix: crate::matrix::Matrix,
    /// What was on the machine before the tests.
    pub(crate) before: Option<crate::leftovers::Machine>,
}

/// What became of a step.
#[derive(Serialize)]
pub(crate) struct Done {
    pub(crate) name: &'static str,
    pub(crate) seconds: f64,
    pub(crate) ok: bool,
    pub(crate) remark: Option<String>,
}

/// Does the steps up to the first that fails; the times of all that ran come back either way.
pub(crate) fn run(steps: &[Step], run: &mut Run) -> (Vec<Done>, Result<()>) {
    let mut done = Vec::new();
    for (number, step) in (1..).zip(steps) {
        println!("\n==> [{number}/{}] {}", steps.len(), step.name);
        let start = Instant::now();
        let result = (step.work)(run);
        let seconds = start.elapsed().as_secs_f64();
        let ok = result.is_ok();
        let (remark, failure) = match result {
            Ok(remark) => (remark, None),
            Err(error) => (None, Some(error)),
        };
        done.push(Done { name: step.name, seconds, ok, remark });
        if let Some(error) = failure {
            let error = Err(error).with_context(|| format!("{} failed: {}", step.name, step.mend));
            return (done, error);
        }
    }
    (done, Ok(()))
}

/// Prints the time of each step, and what they came to.
pub(crate) fn summarise(done: &[Done]) {
    println!("\n{:>8}  step", "time");
    for step in done {
        let outcome = if step.ok { "" } else { "  FAILED" };
        let remark = step.remark.as_deref().map(|r| format!("  ({r})")).unwrap_or_default();
        println!("{:>6.1} s  {}{outcome}{remark}", step.seconds, step.name);
    }
    let total = Duration::from_secs_f64(done.iter().map(|step| step.seconds).sum());
    let (minutes, seconds) = (total.as_secs() / 60, total.as_secs() % 60);
    let passed = done.iter().filter(|step| step.ok).count();
    let failed = done.len() - passed;
    println!("\nsummary: {passed} steps ok, {failed} failed, in {minutes} min {seconds} s");
}
