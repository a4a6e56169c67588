//! Joining two hosts: by veth, or by a wire that can be made bad.

use anyhow::{Context, Result};

use crate::host::Host;
use crate::impaired::ImpairedLink;
use crate::sys;
use crate::wire::Impairment;

/// Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// Frames a TAP keeps while the wire's thread is not running: 50 ms at 1 Gbit/s.
const TAP_QUEUE: &str = "4096";

/// A link being described; see [`crate::Lab::link`].
#[derive(Debug)]
#[must_use = "a link is made by `veth` or `impaired`"]
pub struct LinkBuilder<'l> {
    a: &'l Host,
    b: &'l Host,
    at_a: Vec<String>,
    at_b: Vec<String>,
    mtu: u32,
    tx_checksum_offload: bool,
}

/// Has a host finish the checksums of what it sends by a device, which leaves that to the device else.
///
/// # Errors
/// When the device does not let it be chosen.
pub fn finish_checksums(host: &Host, device: &str) -> Result<()> {
    host.enter(|| sys::disable_tx_checksum(device))?
        .with_context(|| format!("{}: checksums of {device}", host.name()))
}

/// A veth pair. It lives as long as both its hosts.
#[derive(Clone, Debug)]
pub struct Veth {
    /// The interface in the first host.
    pub device_a: String,
    /// The interface in the second host.
    pub device_b: String,
}

impl<'l> LinkBuilder<'l> {
    pub(crate) fn new(a: &'l Host, b: &'l Host) -> Self {
        Self {
            a,
            b,
            at_a: Vec::new(),
            at_b: Vec::new(),
            mtu: DEFAULT_MTU,
            tx_checksum_offload: true,
        }
    }

    /// Addresses of the first host on this link, with prefix length, of either family.
    pub fn at_a(mut self, addresses: &[&str]) -> Self {
        self.at_a.extend(addresses.iter().map(|&a| a.to_owned()));
        self
    }

    /// Addresses of the second host on this link, with prefix length, of either family.
    pub fn at_b(mut self, addresses: &[&str]) -> Self {
        self.at_b.extend(addresses.iter().map(|&b| b.to_owned()));
        self
    }

    /// The MTU of both ends (1500 without).
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Has the sender finish its checksums: a veth leaves them undone, and what rewrites packets at
    /// the far end in XDP would spread wrong ones. (A wire to be impaired always carries whole ones.)
    pub fn without_tx_checksum_offload(mut self) -> Self {
        self.tx_checksum_offload = false;
        self
    }

    /// Makes the link a veth pair.
    ///
    /// # Errors
    /// When `ip` refuses (an address, say) or is missing.
    pub fn veth(self) -> Result<Veth> {
        let (device_a, device_b) = (self.a.new_device_name(), self.b.new_device_name());
        let far = self.b.namespace_path();
        // Created inside: neither end is ever in the outer namespace, whatever happens to us.
        self.a.ip([
            "link", "add", &device_a, "type", "veth", "peer", "name", &device_b, "netns", &far,
        ])?;
        if !self.tx_checksum_offload {
            for (host, device) in [(self.a, &device_a), (self.b, &device_b)] {
                finish_checksums(host, device)?;
            }
        }
        self.bring_up(&device_a, &device_b)?;
        Ok(Veth { device_a, device_b })
    }

    /// Makes the link a TAP in each host with a userspace wire between, alike in both directions
    /// for a start. What is drawn by lot comes from `seed`.
    ///
    /// # Errors
    /// When TAP devices cannot be had, or as [`LinkBuilder::veth`].
    pub fn impaired(self, impairment: Impairment, seed: u64) -> Result<ImpairedLink> {
        let (device_a, device_b) = (self.a.new_device_name(), self.b.new_device_name());
        let tap = |host: &Host, device: &str| {
            host.enter(|| sys::open_tap(device))?
                .with_context(|| format!("{}: TAP {device}", host.name()))
        };
        let taps = [tap(self.a, &device_a)?, tap(self.b, &device_b)?];
        for (host, device) in [(self.a, &device_a), (self.b, &device_b)] {
            host.ip(["link", "set", device, "txqueuelen", TAP_QUEUE])?;
        }
        self.bring_up(&device_a, &device_b)?;
        ImpairedLink::start(taps, [device_a, device_b], impairment, seed)
    }

    fn bring_up(&self, device_a: &str, device_b: &str) -> Result<()> {
        self.a.bring_up(device_a, self.mtu, &self.at_a)?;
        self.b.bring_up(device_b, self.mtu, &self.at_b)?;
        self.a.await_carrier(device_a)?;
        self.b.await_carrier(device_b)
    }
}
