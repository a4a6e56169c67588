//! The tables in force in the kernel, looked up from user space as its programs look them up.

use std::cell::RefCell;

use aya::{
    Ebpf,
    maps::{MapError, lpm_trie::Key},
};
use dataplane_common::{
    Answer, ExactBucket, ExactKey, Flow, FlowKey, Found, Generation, Opener, PolicyHead,
    PolicyTable, TablePrefix, Traffic, consult, find_exact,
};

use crate::{
    Error, counters,
    flows::Flows,
    object,
    tables::{self, Exact, Prefixes, map_error},
};

/// What the kernel would decide on a flow, and what it remembers of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The policy in force.
    pub generation: Generation,
    /// What its tables say.
    pub answer: Answer,
    /// What the rule that decides has counted.
    pub counted: Option<Traffic>,
    /// The flow, if it is remembered.
    pub flow: Option<Flow>,
}

/// Looks up a flow that one side opens.
pub(crate) fn lookup(
    ebpf: &Ebpf,
    generation: Generation,
    flows: &Flows,
    key: &FlowKey,
    opener: Opener,
) -> Result<Lookup, Error> {
    let head = tables::head(ebpf, generation)?;
    let live = LiveTables {
        generation,
        head,
        exact: tables::exact(ebpf, generation)?,
        prefixes: if head.has_prefixes() {
            Some(tables::prefixes(ebpf, generation)?)
        } else {
            None
        },
        failure: RefCell::default(),
    };
    let answer = consult(&live, key, opener);
    if let Some(error) = live.failure.into_inner() {
        return Err(error);
    }
    let counted = match answer.ruling {
        Some(ruling) => Some(counters::of_rule(ebpf, generation, ruling.rule())?),
        None => None,
    };
    Ok(Lookup { generation, answer, counted, flow: flows.find(key) })
}

struct LiveTables {
    generation: Generation,
    head: PolicyHead,
    exact: Exact,
    prefixes: Option<Prefixes>,
    /// Why a table could not be read.
    failure: RefCell<Option<Error>>,
}

impl LiveTables {
    fn found<V>(&self, name: &'static str, value: Result<V, MapError>) -> Option<V> {
        match value {
            Ok(value) => Some(value),
            Err(MapError::KeyNotFound) => None,
            Err(error) => {
                self.failure.replace(Some(map_error(name, "read", &error)));
                None
            }
        }
    }
}

impl LiveTables {
    fn bucket(&self, number: u32) -> Option<ExactBucket> {
        self.found(object::EXACT, self.exact.get(&number, 0)).map(ExactBucket::from_words)
    }
}

impl PolicyTable for LiveTables {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn exact(&self, key: &ExactKey) -> Option<Found> {
        find_exact(&self.head, key, |number| self.bucket(number))
    }

    fn longest(&self, prefix: &TablePrefix) -> Option<u32> {
        let key = Key::new(prefix.bits, prefix.key.0);
        self.found(object::PREFIXES, self.prefixes.as_ref()?.get(&key, 0))
    }
}
