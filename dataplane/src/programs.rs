//! The loaded programs and their maps: all of the policy but the interface.

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, ArrayOfMaps, HashMap, MapData, MapError},
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use dataplane_common::{Direction, Flow, FlowKey, Generation};
use policy::Compiled;

use crate::{
    Counters, Error, Pins, counters,
    error::chain,
    object,
    tables::{self, PolicyTrie},
};

/// The policy's programs in the kernel, with a policy in force.
#[derive(Debug)]
pub struct PolicyPrograms {
    pub(crate) ebpf: Ebpf,
    generation: Generation,
    rule_count: u32,
    /// The trie in force, to go back to should a change fail half-way.
    trie: Option<PolicyTrie>,
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
        let generation = announced(&ebpf)?;
        let mut programs = Self { ebpf, generation, rule_count: 0, trie: None };
        programs.apply(compiled)?;
        Ok(programs)
    }

    /// Puts another policy in force, at once and as a whole: no packet is judged by a mixture, and
    /// none that both policies allow is dropped. Flows that a peer opened are judged again.
    ///
    /// # Errors
    ///
    /// When the kernel has no room for it; then the old policy stays in force.
    pub fn apply(&mut self, compiled: &Compiled) -> Result<Generation, Error> {
        // `MAX_RULES` of both crates bounds it.
        let rule_count = u32::try_from(compiled.rule_count()).unwrap_or(u32::MAX);
        let next = Generation(self.generation.0.checked_add(1).unwrap_or(1));
        let trie = tables::fill(compiled)?;
        counters::clear(&mut self.ebpf, next, rule_count)?;

        // First the tables, then the generation. The swap returns when no program runs that saw
        // the old tables, so no flow can be judged by them and stamped with the new generation.
        swap(&mut self.ebpf, &trie)?;
        if let Err(error) = announce(&mut self.ebpf, next) {
            if let Some(old) = &self.trie {
                swap(&mut self.ebpf, old)?;
            }
            return Err(error);
        }
        self.trie = Some(trie);
        self.generation = next;
        self.rule_count = rule_count;
        Ok(next)
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
        counters::read(&self.ebpf, self.generation, self.rule_count)
    }

    /// How many flows are remembered. It walks the whole table: not for a busy loop.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn flow_count(&self) -> Result<usize, Error> {
        let name = object::FLOWS;
        let map = self.ebpf.map(name).ok_or(Error::Object { name })?;
        let flows =
            HashMap::<_, [u8; size_of::<FlowKey>()], [u8; size_of::<Flow>()]>::try_from(map)
                .map_err(|_| Error::Object { name })?;
        let mut count = 0;
        for key in flows.keys() {
            key.map_err(|error| map_error(name, "read", &error))?;
            count += 1;
        }
        Ok(count)
    }

    /// Runs the program of this direction on a packet (from its IP header on) that exists nowhere
    /// else, and remembers and counts it as any packet.
    ///
    /// # Errors
    ///
    /// When the kernel does not run it: a packet of fewer than 14 bytes, or too large.
    pub fn judge(&self, direction: Direction, packet: &[u8]) -> Result<Action, Error> {
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
        let options = TestRunOptions { data_in: Some(packet), ..TestRunOptions::default() };
        let result = program.test_run(options).map_err(|error| Error::Run {
            program: name,
            length: packet.len(),
            reason: chain(&error),
        })?;
        Ok(match result.return_value {
            SHOT => Action::Drop,
            _ => Action::Pass,
        })
    }
}

/// The program of this name.
pub(crate) fn program_mut<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, Error> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(Error::Object { name })
}

fn swap(ebpf: &mut Ebpf, trie: &PolicyTrie) -> Result<(), Error> {
    let name = object::POLICY;
    let map = ebpf.map_mut(name).ok_or(Error::Object { name })?;
    let mut slot = ArrayOfMaps::<&mut MapData, PolicyTrie>::try_from(map)
        .map_err(|_| Error::Object { name })?;
    slot.set(0, trie, 0).map_err(|error| map_error(name, "swap the trie of", &error))
}

fn announce(ebpf: &mut Ebpf, generation: Generation) -> Result<(), Error> {
    let name = object::GENERATION;
    let map = ebpf.map_mut(name).ok_or(Error::Object { name })?;
    let mut current =
        Array::<&mut MapData, u32>::try_from(map).map_err(|_| Error::Object { name })?;
    current.set(0, generation.0, 0).map_err(|error| map_error(name, "write", &error))
}

/// The generation that the kernel goes by.
fn announced(ebpf: &Ebpf) -> Result<Generation, Error> {
    let name = object::GENERATION;
    let map = ebpf.map(name).ok_or(Error::Object { name })?;
    let current = Array::<&MapData, u32>::try_from(map).map_err(|_| Error::Object { name })?;
    current.get(&0, 0).map(Generation).map_err(|error| map_error(name, "read", &error))
}

fn map_error(map: &'static str, action: &'static str, error: &MapError) -> Error {
    Error::Map { map, action, reason: chain(error) }
}
