//! What a tunnel is started with.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Result;

use super::keys::KeyPair;
use super::program::Implementation;
use super::socket::{interface_name, next_number};
use super::tunnel::Tunnel;
use crate::host::Host;
use crate::process::Process;

/// A tunnel being described.
#[derive(Debug)]
#[must_use = "a tunnel is started by `start`"]
pub struct TunnelBuilder {
    pub(super) implementation: Implementation,
    pub(super) program: Option<PathBuf>,
    pub(super) arguments: Vec<OsString>,
    pub(super) variables: Vec<(OsString, OsString)>,
}

impl TunnelBuilder {
    /// This nearwire in place of the one that was built beside the tests.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// One more argument, behind the interface's name (`--policy`, say).
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// A variable of its environment (`NEARWIRE_LOG`, say).
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it and waits until it answers; the interface is down and has no key yet.
    ///
    /// # Errors
    /// When the program is missing, ends, or does not answer; with its output.
    pub fn start<'h>(self, host: &'h Host) -> Result<Tunnel<'h>> {
        let count = next_number();
        let name = interface_name(self.implementation.prefix(), count);
        let mut tunnel = Tunnel {
            host,
            name,
            // Differs between tunnels of one host; other labs have ports of their own.
            port: 20_000 + u16::try_from(count % 10_000)?,
            keys: KeyPair::generate()?,
            process: None,
            builder: self,
        };
        tunnel.launch()?;
        Ok(tunnel)
    }

    /// The process that serves the interface `name`.
    pub(super) fn launch(&self, host: &Host, name: &str) -> Result<Process> {
        let mut command = self.implementation.command(host, name, self.program.as_deref())?;
        command.args(&self.arguments);
        for (variable, value) in &self.variables {
            command.env(variable, value);
        }
        host.spawn_command(command)
    }
}
