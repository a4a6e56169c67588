//! What every packet is judged by, shared with the kernel's programs.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use aya::{Ebpf, maps::Map};
use dataplane_common::{Base, BaseWords, Generation, Secret};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::{Error, error::chain, mapped::Mapped, object};

/// The generation in force and the secret of the tables of flows, where the programs read them.
#[derive(Debug)]
pub(crate) struct SharedBase {
    mapped: Mapped,
}

impl SharedBase {
    /// That of the loaded programs. Tables of flows that nobody has used before get a secret; the
    /// others are useless without the one by which they were filled.
    pub(crate) fn of(ebpf: &Ebpf) -> Result<Self, Error> {
        let name = object::BASE;
        let Some(Map::Array(map)) = ebpf.map(name) else { return Err(Error::Object { name }) };
        let mapped = Mapped::of(name, map.fd(), BaseWords::default().len())?;
        let shared = Self { mapped };
        if shared.secret() == Secret::default() {
            shared.write(Base::new(fresh()?, shared.generation()));
        }
        Ok(shared)
    }

    /// The generation in force.
    pub(crate) fn generation(&self) -> Generation {
        self.read().generation
    }

    /// By which the sets of flows are chosen.
    pub(crate) fn secret(&self) -> Secret {
        self.read().secret
    }

    /// Puts the policy of a generation in force, by one store.
    pub(crate) fn put_in_force(&self, generation: Generation) {
        self.write(Base::new(self.secret(), generation));
    }

    fn read(&self) -> Base {
        let mut words = BaseWords::default();
        for (to, from) in words.iter_mut().zip(self.mapped.words()) {
            *to = from.load(Acquire);
        }
        Base::from_words(words)
    }

    /// The programs see each word whole, and the secret is the same once they see packets.
    fn write(&self, base: Base) {
        for (to, from) in self.mapped.words().iter().zip(base.to_words()) {
            if to.load(Relaxed) != from {
                to.store(from, Release);
            }
        }
    }
}

fn fresh() -> Result<Secret, Error> {
    let mut fresh = [[[0; 4]; 2]; 5];
    let bytes = fresh.as_flattened_mut().as_flattened_mut();
    getrandom(bytes, GetRandomFlags::empty()).map_err(|error| Error::Map {
        map: object::BASE,
        action: "find random numbers for",
        reason: chain(&error),
    })?;
    Ok(Secret(fresh.map(|halves| halves.map(u32::from_ne_bytes))))
}
