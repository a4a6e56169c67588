//! Hanging the switch on interfaces.

use std::fmt;

use aya::{
    maps::DevMapHash,
    programs::{self, xdp::XdpLinkId},
};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};

use super::{LaneSwitch, object, program_mut};
use crate::{Error, error::chain};

/// Where in the host's path the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the interface's driver, before the kernel makes a buffer of the packet: the fast one,
    /// which takes a driver that can.
    Driver,
    /// In the kernel's own path: on every interface, but slower. On a virtual interface whose other
    /// end joins datagrams (UDP GSO), switch that off there: joined ones cannot be told apart.
    Generic,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "driver",
            Self::Generic => "generic",
        })
    }
}

impl From<XdpMode> for programs::XdpMode {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Driver => Self::Driver,
            XdpMode::Generic => Self::Skb,
        }
    }
}

/// The switch on one interface.
#[derive(Debug)]
pub(super) struct Attachment {
    interface: String,
    index: u32,
    mode: XdpMode,
    link: XdpLinkId,
}

impl LaneSwitch {
    /// Hangs the switch on an interface of this network namespace, just so: where the driver cannot
    /// run it, the caller chooses whether [`XdpMode::Generic`] will do, and tells its user.
    ///
    /// Packets can leave by each interface that was attached, whichever they came by.
    ///
    /// # Errors
    ///
    /// For the loopback interface, one that is not there, one that has a program already, and one
    /// whose driver cannot run it.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<(), Error> {
        let refused = |reason| Error::AttachXdp { interface: interface.to_owned(), mode, reason };
        let index = index_of(interface).map_err(refused)?;
        let name = object::INTERFACES;
        let map = self.ebpf.map_mut(name).ok_or(Error::Object { name })?;
        let mut interfaces = DevMapHash::try_from(map).map_err(|_| Error::Object { name })?;
        interfaces.insert(index, index, None, 0).map_err(|error| refused(chain(&error)))?;

        let program = program_mut(&mut self.ebpf, object::SWITCH)?;
        match program.attach_to_if_index(index, mode.into()) {
            Ok(link) => {
                let interface = interface.to_owned();
                self.attached.push(Attachment { interface, index, mode, link });
                Ok(())
            }
            Err(error) => {
                self.forget(index)?;
                Err(refused(chain(&error)))
            }
        }
    }

    /// Takes the switch off an interface; nothing, if it is not there, or is gone with all that hung
    /// on it.
    ///
    /// # Errors
    ///
    /// When the kernel does not let go of it.
    pub fn detach(&mut self, interface: &str) -> Result<(), Error> {
        let Some(at) = self.attached.iter().position(|attached| attached.interface == interface)
        else {
            return Ok(());
        };
        let Attachment { interface, index, mode, link } = self.attached.swap_remove(at);
        self.forget(index)?;
        let detached = program_mut(&mut self.ebpf, object::SWITCH)?.detach(link);
        match detached {
            Err(error) if index_of(&interface) == Ok(index) => {
                Err(Error::AttachXdp { interface, mode, reason: chain(&error) })
            }
            _ => Ok(()),
        }
    }

    /// The interfaces that it hangs on.
    pub fn attached(&self) -> impl Iterator<Item = (&str, XdpMode)> {
        self.attached.iter().map(|attached| (attached.interface.as_str(), attached.mode))
    }

    /// No packet leaves by this interface any more.
    fn forget(&mut self, index: u32) -> Result<(), Error> {
        let name = object::INTERFACES;
        let map = self.ebpf.map_mut(name).ok_or(Error::Object { name })?;
        let mut interfaces = DevMapHash::try_from(map).map_err(|_| Error::Object { name })?;
        // The kernel forgets an interface that is gone by itself.
        let _ = interfaces.remove(index);
        Ok(())
    }
}

/// The index of an interface of this network namespace, or why there can be no program on it.
pub(super) fn index_of(interface: &str) -> Result<u32, String> {
    let index = socket(AddressFamily::INET, SocketType::DGRAM, None)
        .and_then(|socket| name_to_index(&socket, interface))
        .map_err(|error| error.to_string())?;
    // Its index is 1 in every namespace, and packets on it are half-made: no checksum, and as large
    // as memory.
    if index == 1 { Err("it is the loopback interface".to_owned()) } else { Ok(index) }
}
