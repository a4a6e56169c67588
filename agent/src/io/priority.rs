//! Who goes first when all CPUs are busy: what was asked of the daemon, a few milliseconds at a time,
//! goes before the packets, which else would fill them. A grant that is taken back must not wait.

use std::sync::OnceLock;

use rustix::process::{getpriority_process, setpriority_process};

/// By so much, in steps of `nice`.
const AHEAD: i32 = 10;
/// What the process was started with.
static GIVEN: OnceLock<i32> = OnceLock::new();

/// Has the calling thread, and those that it starts from now on, go before the packets. Without the
/// privilege (CAP_SYS_NICE, or RLIMIT_NICE) all go alike.
pub(crate) fn before_packets() {
    let given = *GIVEN.get_or_init(|| getpriority_process(None).unwrap_or(0));
    if let Err(error) = setpriority_process(None, given - AHEAD) {
        tracing::debug!(%error, "commands and packets go alike");
    }
}

/// Has the calling thread go as the process was started.
pub(crate) fn with_packets() {
    if let Some(&given) = GIVEN.get() {
        // It only gives away what it has.
        let _ = setpriority_process(None, given);
    }
}
