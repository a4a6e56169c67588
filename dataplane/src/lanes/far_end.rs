//! What is at the far end of a relay's interface to measure it by: a source of frames of many lanes, as
//! fast as one core can, and a sink of what comes back.

use aya::{Ebpf, EbpfLoader, maps::DevMapHash};

use super::{
    XdpMode,
    attach::index_of,
    counters::per_cpu,
    object::{ENDS, FIRST_HEAD, INTERFACES, OBJECT, SINK, SOURCE, SUNK},
    program_mut,
    wire::{refused, send_live},
};
use crate::{Error, error::chain};

/// The far end of an interface. It ends when this is dropped.
#[derive(Debug)]
pub struct FarEnd {
    ebpf: Ebpf,
    interface: u32,
    frame: Vec<u8>,
}

impl FarEnd {
    /// Takes an interface of this network namespace, whose driver must run programs. Frames are those
    /// of so many lanes in turn: `first` is one of the first, over IPv4, and those behind it have the
    /// numbers and ports behind its own.
    ///
    /// # Errors
    ///
    /// When the frame is too short, the kernel refuses a program, or the interface does not take it.
    pub fn of(interface: &str, first: &[u8], lanes: u16) -> Result<Self, Error> {
        let failed = |why| refused(interface, why);
        let index = index_of(interface).map_err(failed)?;
        let mut head = [0_u64; 7];
        for (word, bytes) in head.iter_mut().zip(first.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        let loaded = EbpfLoader::new()
            .override_global(FIRST_HEAD, &head, true)
            .override_global(ENDS, &lanes, true)
            .load(OBJECT);
        let mut ebpf = loaded.map_err(|error| Error::Load { reason: chain(&error) })?;
        for name in [SOURCE, SINK] {
            program_mut(&mut ebpf, name)?
                .load()
                .map_err(|error| Error::Program { program: name, reason: chain(&error) })?;
        }
        let map = ebpf.map_mut(INTERFACES).ok_or(Error::Object { name: INTERFACES })?;
        let map = DevMapHash::try_from(map).map_err(|_| Error::Object { name: INTERFACES });
        map?.insert(index, index, None, 0).map_err(|error| failed(chain(&error)))?;
        program_mut(&mut ebpf, SINK)?
            .attach(interface, XdpMode::Driver.into())
            .map_err(|error| failed(chain(&error)))?;
        Ok(Self { ebpf, interface: index, frame: first.to_vec() })
    }

    /// Sends so many frames.
    ///
    /// # Errors
    ///
    /// When the kernel refuses them.
    pub fn send(&mut self, times: u32) -> Result<(), Error> {
        let program = program_mut(&mut self.ebpf, SOURCE)?;
        send_live(program, SOURCE, &self.frame, self.interface, times)
    }

    /// How many have come back.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn sunk(&self) -> Result<u64, Error> {
        per_cpu(&self.ebpf, SUNK, 0)
    }
}
