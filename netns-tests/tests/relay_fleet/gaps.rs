//! How long nothing arrived, told so that `cargo xtask bench relay` can read it.

use std::time::Duration;

/// Says what was measured, on a line of its own.
pub(crate) fn say(what: &str, number: f64) {
    println!("\n{what}: {number:.1}");
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
