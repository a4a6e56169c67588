//! Running the programs on frames that exist nowhere else: to test and to measure them.

use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};

use super::{LaneSwitch, XdpMode, object, program_mut};
use crate::{Error, error::chain};

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switched {
    /// It goes to the host, untouched.
    Pass,
    /// It is dropped.
    Drop,
    /// It leaves by the interface by which it came, as this.
    Back(Vec<u8>),
    /// It leaves by another interface, as this.
    Onward(Vec<u8>),
}

impl LaneSwitch {
    /// Switches a frame, and counts it as any other.
    ///
    /// # Errors
    ///
    /// When the kernel does not run it: a frame of fewer than 14 bytes, or too large.
    pub fn run(&self, frame: &[u8]) -> Result<Switched, Error> {
        // As <linux/bpf.h> numbers them.
        const DROP: u32 = 1;
        const PASS: u32 = 2;
        const TX: u32 = 3;
        const REDIRECT: u32 = 4;
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let name = object::SWITCH;
        let result = self.program(name)?.test_run(options).map_err(|e| refused(name, frame, &e))?;
        out.truncate(usize::try_from(result.data_size_out).unwrap_or(0));
        match result.return_value {
            PASS if out == frame => Ok(Switched::Pass),
            DROP => Ok(Switched::Drop),
            TX => Ok(Switched::Back(out)),
            REDIRECT => Ok(Switched::Onward(out)),
            other => Err(Error::Run {
                program: name,
                length: frame.len(),
                reason: format!("it gave {other} and a frame of {} bytes", out.len()),
            }),
        }
    }

    /// How long the switch takes for a frame, when it gets what it made of it again and again.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn time(&self, frame: &[u8], repeat: u32) -> Result<Duration, Error> {
        time(self.program(object::SWITCH)?, object::SWITCH, frame, repeat)
    }

    /// As [`time`](Self::time), for a program that only sends frames back: the ceiling.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and when the kernel refuses the program.
    pub fn time_reflector(&mut self, frame: &[u8], repeat: u32) -> Result<Duration, Error> {
        self.reflector()?;
        time(self.program(object::REFLECT)?, object::REFLECT, frame, repeat)
    }

    /// Hangs the reflector on an interface, in place of the switch: there it stays as long as this.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the program, or the interface does not take it.
    pub fn attach_reflector(&mut self, interface: &str, mode: XdpMode) -> Result<(), Error> {
        let attached = self.reflector()?.attach(interface, mode.into());
        let interface = interface.to_owned();
        attached.map(drop).map_err(|error| Error::AttachXdp {
            interface,
            mode,
            reason: chain(&error),
        })
    }

    /// Loaded when it is first asked for: a relay needs none.
    fn reflector(&mut self) -> Result<&mut Xdp, Error> {
        let name = object::REFLECT;
        let program = program_mut(&mut self.ebpf, name)?;
        if program.fd().is_err() {
            program
                .load()
                .map_err(|error| Error::Program { program: name, reason: chain(&error) })?;
        }
        Ok(program)
    }

    fn program(&self, name: &'static str) -> Result<&Xdp, Error> {
        let program = self.ebpf.program(name).and_then(|program| program.try_into().ok());
        program.ok_or(Error::Object { name })
    }
}

fn time(program: &Xdp, name: &'static str, frame: &[u8], repeat: u32) -> Result<Duration, Error> {
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
    let result = program.test_run(options).map_err(|error| refused(name, frame, &error))?;
    Ok(result.duration)
}

fn refused(program: &'static str, frame: &[u8], error: &aya::programs::ProgramError) -> Error {
    Error::Run { program, length: frame.len(), reason: chain(error) }
}
