//! How long the programs take.

use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use dataplane_common::Direction;

use crate::{Action, Error, PolicyPrograms, error::chain, object};

impl PolicyPrograms {
    /// Runs the program of this direction on a packet so many times, and gives its last answer and
    /// the mean time of one run. One run alone contains the kernel's own reading of the clock.
    ///
    /// # Errors
    ///
    /// As [`judge`](Self::judge).
    pub fn time(
        &self,
        direction: Direction,
        packet: &[u8],
        repeat: u32,
    ) -> Result<(Action, Duration), Error> {
        /// `TC_ACT_SHOT`.
        const SHOT: u32 = 2;
        let name = match direction {
            Direction::In => object::INGRESS,
            Direction::Out => object::EGRESS,
        };
        let program: &SchedClassifier = self
            .ebpf
            .program(name)
            .and_then(|program| program.try_into().ok())
            .ok_or(Error::Object { name })?;
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::default() };
        let result = program.test_run(options).map_err(|error| Error::Run {
            program: name,
            length: packet.len(),
            reason: chain(&error),
        })?;
        let action = if result.return_value == SHOT { Action::Drop } else { Action::Pass };
        Ok((action, result.duration))
    }
}
