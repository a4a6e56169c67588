//! The system's `ping`, once or all the time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::host::Host;
use crate::process::Process;

/// One echo that must come back within five seconds: time enough for a handshake before it.
///
/// # Errors
/// When it does not.
pub fn ping(from: &Host, address: &str) -> Result<()> {
    ping_sized(from, address, 56)
}

/// As [`ping`], with so many bytes of payload; what is longer than the MTU is fragmented.
///
/// # Errors
/// As [`ping`].
pub fn ping_sized(from: &Host, address: &str, payload: u16) -> Result<()> {
    // On a busy machine one may be lost, or be too late.
    let payload = payload.to_string();
    let ask = || from.run(["ping", "-n", "-c", "1", "-W", "5", "-s", &payload, address]);
    ask().or_else(|_| ask()).or_else(|_| ask())?;
    Ok(())
}

/// Whether one echo comes back within `timeout`.
///
/// # Errors
/// Without `ping`.
pub fn answers(from: &Host, address: &str, timeout: Duration) -> Result<bool> {
    let seconds = timeout.as_secs_f64().to_string();
    Ok(from.output(["ping", "-n", "-c", "1", "-W", &seconds, address])?.status.success())
}

/// Echoes in a steady rhythm, until told to end.
#[derive(Debug)]
pub struct Pinger(Process);

/// What a [`Pinger`] counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingCount {
    /// Echoes asked for.
    pub transmitted: u32,
    /// Echoes that came back, once each.
    pub received: u32,
}

impl PingCount {
    /// Echoes that did not come back.
    #[must_use]
    pub fn lost(self) -> u32 {
        self.transmitted - self.received
    }
}

impl Pinger {
    /// Starts to ping; gives it back once the first answer has come.
    ///
    /// # Errors
    /// Without an answer within ten seconds.
    pub fn start(from: &Host, address: &str, interval: Duration) -> Result<Self> {
        let interval = interval.as_secs_f64().to_string();
        let process = from.spawn(["ping", "-n", "-i", &interval, address])?;
        process.wait_for_line("bytes from", Duration::from_secs(10))?;
        Ok(Self(process))
    }

    /// How many answers have come.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.0.stdout_so_far().lines().filter(|line| line.contains("bytes from")).count()
    }

    /// Waits until so many more answers have come.
    ///
    /// # Errors
    /// When they have not within `timeout`.
    pub fn wait_for_more(&self, answers: usize, timeout: Duration) -> Result<()> {
        let goal = self.answered() + answers;
        let came = crate::wait::holds_within(timeout, || self.answered() >= goal);
        ensure!(
            came,
            "{}: {} answers in {timeout:?}, not {goal}",
            self.0.command_line(),
            self.answered()
        );
        Ok(())
    }

    /// Ends it. The last echo may have been under way; it does not count as lost.
    ///
    /// # Errors
    /// When its summary cannot be read.
    pub fn finish(self) -> Result<PingCount> {
        self.0.signal(Signal::INT)?;
        let output = self.0.wait(Duration::from_secs(5))?.stdout;
        let summary = output.lines().find(|line| line.contains("packets transmitted"));
        let numbers: Vec<u32> = summary
            .with_context(|| format!("no summary of ping: {output}"))?
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        let [transmitted, received, ..] = numbers[..] else {
            anyhow::bail!("no numbers in {summary:?}");
        };
        let last = output.lines().rfind(|line| line.contains("bytes from")).unwrap_or_default();
        let under_way = !last.contains(&format!("icmp_seq={transmitted} "));
        Ok(PingCount { transmitted: transmitted - u32::from(under_way), received })
    }
}
