//! The loaded programs and their maps: all of the policy but the interface.

use std::time::Duration;

use aya::{
    Ebpf, EbpfLoader,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use dataplane_common::{Direction, Generation};
use policy::Compiled;

use crate::{
    Counters, Error, FlowCounts, Pins, counters,
    error::chain,
    flows,
    layout::Layout,
    object,
    tables::{self, Tables},
};

/// The policy's programs in the kernel, with a policy in force.
#[derive(Debug)]
pub struct PolicyPrograms {
    pub(crate) ebpf: Ebpf,
    generation: Generation,
}

/// What a program tells the kernel to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go on: to other programs on the interface, then to the host or the tunnel.
    Pass,
    /// Drop it.
    Drop,
}

impl PolicyPrograms {
    /// Loads the programs and puts a policy in force. They see no packets before they are attached.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the programs or has no room for the policy.
    pub fn load(compiled: &Compiled) -> Result<Self, Error> {
        Self::load_with(compiled, &mut EbpfLoader::new())
    }

    /// As [`load`](Self::load), with maps that outlive the process, or that outlived another: then
    /// its flows are known here, and its generation is followed by the next.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and when a map cannot be pinned.
    pub fn load_pinned(compiled: &Compiled, pins: &Pins) -> Result<Self, Error> {
        pins.prepare()?;
        let mut loader = EbpfLoader::new();
        for name in object::PINNED {
            loader.map_pin_path(name, pins.file(name));
        }
        Self::load_with(compiled, &mut loader)
    }

    fn load_with(compiled: &Compiled, loader: &mut EbpfLoader<'_>) -> Result<Self, Error> {
        let mut ebpf =
            loader.load(object::OBJECT).map_err(|error| Error::Load { reason: chain(&error) })?;
        for name in [object::INGRESS, object::EGRESS] {
            program_mut(&mut ebpf, name)?
                .load()
                .map_err(|error| Error::Program { program: name, reason: chain(&error) })?;
        }
        let generation = tables::generation(&ebpf)?;
        let mut programs = Self { ebpf, generation };
        programs.apply(compiled)?;
        Ok(programs)
    }

    /// Puts another policy in force, at once and as a whole: no packet is judged by a mixture, and
    /// none that both policies allow is dropped. Flows that a peer opened are judged again.
    ///
    /// # Errors
    ///
    /// When it is too large or the kernel has no room for it; then the old policy stays in force.
    pub fn apply(&mut self, compiled: &Compiled) -> Result<Generation, Error> {
        Tables::fill(&Layout::new(compiled))?.put_in_force(&mut self.ebpf, self.generation)?;
        self.generation = self.generation.next();
        Ok(self.generation)
    }

    /// The policy in force.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// What the programs have counted.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        counters::read(&self.ebpf, self.generation)
    }

    /// How many flows are remembered. It walks the tables: not for a busy loop.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn flow_counts(&self) -> Result<FlowCounts, Error> {
        let count = |name| flows::keys(&self.ebpf, name).map(|keys| keys.len());
        Ok(FlowCounts { answered: count(object::FLOWS)?, opening: count(object::OPENING)? })
    }

    /// How many flows are remembered, answered or not: see [`flow_counts`](Self::flow_counts).
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn flow_count(&self) -> Result<usize, Error> {
        self.flow_counts().map(|counts| counts.answered + counts.opening)
    }

    /// Runs the program of this direction on a packet (from its IP header on) that exists nowhere
    /// else, and remembers and counts it as any packet.
    ///
    /// # Errors
    ///
    /// When the kernel does not run it: a packet of fewer than 14 bytes, or too large.
    pub fn judge(&self, direction: Direction, packet: &[u8]) -> Result<Action, Error> {
        self.run(direction, packet, 1).map(|(action, _)| action)
    }

    /// Runs the program of this direction `repeat` times on a packet, as [`judge`](Self::judge)
    /// does, and tells what a run took.
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
        self.run(direction, packet, repeat)
    }

    fn run(
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
        let action = match result.return_value {
            SHOT => Action::Drop,
            _ => Action::Pass,
        };
        Ok((action, result.duration))
    }
}

/// The program of this name.
pub(crate) fn program_mut<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, Error> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(Error::Object { name })
}
