//! A TUN interface whose far side is this process: what is written arrives in the host.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::host::Host;
use crate::sys;

/// A TUN interface. It is gone when this is dropped.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
}

impl Tun {
    /// Makes one in a host, up, with an address (with prefix length).
    ///
    /// # Errors
    /// Without `/dev/net/tun`, or when `ip` refuses.
    pub fn open(host: &Host, address: &str) -> Result<Self> {
        let name = host.new_device_name();
        let file = host
            .enter(|| sys::open_tun(&name))?
            .with_context(|| format!("{}: TUN {name}", host.name()))?;
        host.ip(["address", "add", address, "dev", &name])?;
        host.ip(["link", "set", &name, "up"])?;
        Ok(Self { file, name })
    }

    /// The file that packets are read from and written to, for a pump of one's own; it does not block.
    /// The interface is gone when it is closed.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }

    /// The interface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes packets one after the other; gives the time until the host has dealt with the last,
    /// which it does before a write returns.
    ///
    /// # Errors
    /// When the interface takes one not.
    pub fn write_all<P: AsRef<[u8]>>(&self, packets: &[P]) -> io::Result<Duration> {
        let mut file = &self.file;
        let started = Instant::now();
        for packet in packets {
            file.write_all(packet.as_ref())?;
        }
        Ok(started.elapsed())
    }
}
