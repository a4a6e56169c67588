//! The loaded programs and their maps: all of the policy but the interface.

use std::time::Duration;

use aya::{
    Ebpf, EbpfLoader,
    maps::RingBuf,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use dataplane_common::{Direction, Flow, FlowKey, Generation, Loss, Nanos, Opener};
use policy::Compiled;

use crate::{
    Counters, Error, Events, EventsSize, FlowCounts, Lookup, Pins,
    base::SharedBase,
    counters,
    error::chain,
    flows::Flows,
    layout::Layout,
    live, object,
    tables::{Tables, map_error},
};

/// The policy's programs in the kernel, with a policy in force.
#[derive(Debug)]
pub struct PolicyPrograms {
    pub(crate) ebpf: Ebpf,
    base: SharedBase,
    /// Whether a change of this process was waited for, so that no program uses the spare slots.
    settled: bool,
    flows: Flows,
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
        Self::load_with(compiled, EventsSize::default())
    }

    /// As [`load`](Self::load), with a buffer of this size for events.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with(compiled: &Compiled, events: EventsSize) -> Result<Self, Error> {
        Self::load_by(EbpfLoader::new().map_max_entries(object::EVENTS, events.bytes()), compiled)
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
        Self::load_by(&mut loader, compiled)
    }

    fn load_by(loader: &mut EbpfLoader<'_>, compiled: &Compiled) -> Result<Self, Error> {
        let mut ebpf =
            loader.load(object::OBJECT).map_err(|error| Error::Load { reason: chain(&error) })?;
        for name in [object::INGRESS, object::EGRESS] {
            program_mut(&mut ebpf, name)?
                .load()
                .map_err(|error| Error::Program { program: name, reason: chain(&error) })?;
        }
        let base = SharedBase::of(&ebpf)?;
        let flows = Flows::of(&ebpf, base.secret())?;
        let mut programs = Self { ebpf, base, settled: false, flows };
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
        let spare = self.settled.then(|| self.generation().next());
        let tables = Tables::fill(&self.ebpf, &Layout::new(compiled), spare)?;
        self.settled = false;
        tables.put_in_force(&mut self.ebpf, &self.base)?;
        self.settled = true;
        Ok(self.generation())
    }

    /// The policy in force.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.base.generation()
    }

    /// What the programs have counted.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        counters::read(&self.ebpf, self.generation())
    }

    /// Events that were not told since the programs were loaded, for each kind of loss.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn losses(&self) -> Result<Vec<(Loss, u64)>, Error> {
        counters::losses(&self.ebpf)
    }

    /// The events of the programs; none if they were taken before. Until then the kernel keeps them,
    /// as far as there is room.
    ///
    /// # Errors
    ///
    /// When the buffer cannot be mapped.
    pub fn take_events(&mut self) -> Result<Option<Events>, Error> {
        let name = object::EVENTS;
        let Some(map) = self.ebpf.take_map(name) else { return Ok(None) };
        let ring = RingBuf::try_from(map).map_err(|error| map_error(name, "map", &error))?;
        Ok(Some(Events::new(ring)))
    }

    /// Every flow that is remembered. It walks the tables, some megabytes: not for a busy loop.
    #[must_use]
    pub fn flows(&self) -> Vec<(FlowKey, Flow)> {
        self.flows.all()
    }

    /// Forgets flows that are past their lifetime, and gives those whose end was not told. The
    /// kernel does not need it, only those who want to hear of it. It walks the tables; `now` is of
    /// the clock `CLOCK_MONOTONIC`.
    pub fn expire(&self, now: Nanos) -> Vec<(FlowKey, Flow)> {
        self.flows.expired(now)
    }

    /// What the tables in force say of a flow that one side opens, and what is remembered of it.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn lookup(&self, key: &FlowKey, opener: Opener) -> Result<Lookup, Error> {
        live::lookup(&self.ebpf, self.generation(), &self.flows, key, opener)
    }

    /// How many flows are remembered. It walks the tables: not for a busy loop.
    #[must_use]
    pub fn flow_counts(&self) -> FlowCounts {
        self.flows.counts()
    }

    /// How many flows are remembered, answered or not: see [`flow_counts`](Self::flow_counts).
    #[must_use]
    pub fn flow_count(&self) -> usize {
        let FlowCounts { answered, opening } = self.flow_counts();
        answered + opening
    }

    /// Runs the program of this direction on a packet (from its IP header on) that exists nowhere
    /// else, and remembers and counts it as any packet.
    ///
    /// # Errors
    ///
    /// When the kernel does not run it: a packet of fewer than 14 bytes, or too large.
    pub fn judge(&self, direction: Direction, packet: &[u8]) -> Result<Action, Error> {
        self.time(direction, packet, 1).map(|(action, _)| action)
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
        self.run(by_direction(direction), packet, repeat)
    }

    /// As [`time`](Self::time), of a program that does nothing: what a test run itself takes.
    ///
    /// # Errors
    ///
    /// As [`judge`](Self::judge).
    pub fn time_nothing(&mut self, packet: &[u8], repeat: u32) -> Result<Duration, Error> {
        let name = object::NOTHING;
        let program = program_mut(&mut self.ebpf, name)?;
        if program.fd().is_err() {
            program
                .load()
                .map_err(|error| Error::Program { program: name, reason: chain(&error) })?;
        }
        self.run(name, packet, repeat).map(|(_, time)| time)
    }

    fn run(
        &self,
        name: &'static str,
        packet: &[u8],
        repeat: u32,
    ) -> Result<(Action, Duration), Error> {
        /// `TC_ACT_SHOT`.
        const SHOT: u32 = 2;
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

const fn by_direction(direction: Direction) -> &'static str {
    match direction {
        Direction::In => object::INGRESS,
        Direction::Out => object::EGRESS,
    }
}

/// The program of this name.
pub(crate) fn program_mut<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, Error> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(Error::Object { name })
}
