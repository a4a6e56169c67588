//! A wire for benches and tests: it hands frames to a host as a network interface does, before the
//! kernel has made a buffer of them.

use aya::{
    Ebpf, EbpfLoader,
    maps::DevMapHash,
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};

use super::{
    XdpMode,
    attach::index_of,
    object::{INTERFACES, OBJECT, WIRE},
    program_mut,
};
use crate::{Error, error::chain};

/// A program by which what comes to one interface leaves by another. It ends when this is dropped.
#[derive(Debug)]
pub struct Wire {
    ebpf: Ebpf,
    /// By which it sends.
    interface: u32,
}

impl Wire {
    /// Joins two interfaces of this network namespace, whose drivers must run programs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the program, or an interface does not take it.
    pub fn between([one, other]: [&str; 2]) -> Result<Self, Error> {
        let mut wire = Self::load(one)?;
        for (from, to) in [(one, other), (other, one)] {
            wire.lead(from, to)?;
            let attached = wire.program()?.attach(from, XdpMode::Driver.into());
            attached.map_err(|error| refused(from, chain(&error)))?;
        }
        Ok(wire)
    }

    /// One that hangs nowhere, and is for [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`between`](Self::between).
    pub fn onto(interface: &str) -> Result<Self, Error> {
        let mut wire = Self::load(interface)?;
        wire.lead(interface, interface)?;
        Ok(wire)
    }

    /// Sends a frame so many times by its first interface, as fast as one core can: some millions a
    /// second.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the frame.
    pub fn send(&mut self, frame: &[u8], times: u32) -> Result<(), Error> {
        let interface = self.interface;
        send_live(self.program()?, WIRE, frame, interface, times)
    }

    fn load(interface: &str) -> Result<Self, Error> {
        let interface = index_of(interface).map_err(|why| refused(interface, why))?;
        let loaded = EbpfLoader::new().load(OBJECT);
        let mut ebpf = loaded.map_err(|error| Error::Load { reason: chain(&error) })?;
        program_mut(&mut ebpf, WIRE)?
            .load()
            .map_err(|error| Error::Program { program: WIRE, reason: chain(&error) })?;
        Ok(Self { ebpf, interface })
    }

    fn program(&mut self) -> Result<&mut Xdp, Error> {
        program_mut(&mut self.ebpf, WIRE)
    }

    /// What comes by one interface is to leave by this other.
    fn lead(&mut self, from: &str, to: &str) -> Result<(), Error> {
        let index = |name| index_of(name).map_err(|why| refused(name, why));
        let map = self.ebpf.map_mut(INTERFACES).ok_or(Error::Object { name: INTERFACES })?;
        let map = DevMapHash::try_from(map).map_err(|_| Error::Object { name: INTERFACES });
        let inserted = map?.insert(index(from)?, index(to)?, None, 0);
        inserted.map_err(|error| refused(from, chain(&error)))
    }
}

/// Gives a frame to a program so many times, as if it had come by this interface, and to the kernel
/// what it makes of it.
pub(super) fn send_live(
    program: &mut Xdp,
    name: &'static str,
    frame: &[u8],
    interface: u32,
    times: u32,
) -> Result<(), Error> {
    const BATCH: u32 = 64;
    let context = context(frame, interface);
    let options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&context),
        repeat: times,
        attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
        ..TestRunOptions::default()
    };
    let sent = program.test_run(options);
    sent.map(drop).map_err(|error| Error::Run {
        program: name,
        length: frame.len(),
        reason: chain(&error),
    })
}

pub(super) fn refused(interface: &str, reason: String) -> Error {
    Error::AttachXdp { interface: interface.to_owned(), mode: XdpMode::Driver, reason }
}

/// The kernel's `struct xdp_md` of a frame that has come by this interface.
fn context(frame: &[u8], interface: u32) -> Vec<u8> {
    let end = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let fields: [u32; 6] = [0, end, 0, interface, 0, 0];
    fields.iter().flat_map(|field| field.to_ne_bytes()).collect()
}
