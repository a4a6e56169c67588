//! The links between a hub and what is around it.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Hub;
use super::hub::ADDRESS;
use crate::host::Host;
use crate::impaired::ImpairedLink;
use crate::lab::Lab;
use crate::wire::Impairment;

/// What [`Hub::hinder`] does to packets that it forwards: those of direct ways, as nodes speak with relays
/// and the control plane at the hub itself.
#[derive(Clone, Copy, Debug)]
pub enum Hindrance<'a> {
    /// None passes.
    All,
    /// None passes that comes by this link.
    From(&'a str),
    /// So many of a hundred do not pass.
    Percent(u8),
}

/// How addresses of links begin.
const PRIVATE: u8 = 10;
const PUBLIC: u8 = 45;

impl Hub {
    /// Has links that are made from now on take so long, one way.
    pub const fn set_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    /// Gives a host a link and a default route; gives the link's name there.
    ///
    /// # Errors
    /// When the link cannot be made.
    pub fn connect(&self, lab: &Lab, host: &Host) -> Result<String> {
        self.connect_in(PRIVATE, lab, host)
    }

    /// As [`Self::connect`], with an address that is nobody's own network.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_public(&self, lab: &Lab, host: &Host) -> Result<String> {
        self.connect_in(PUBLIC, lab, host)
    }

    fn connect_in(&self, first: u8, lab: &Lab, host: &Host) -> Result<String> {
        let number = self.nodes.get() + 1;
        self.nodes.set(number);
        let (there, here) =
            (format!("{first}.{number}.0.1/24"), format!("{first}.{number}.0.254/24"));
        let (there, here) = ([there.as_str()], [here.as_str()]);
        let link = lab.link(host, &self.host).at_a(&there).at_b(&here);
        let (device, at_hub) = if self.delay.is_zero() {
            let veth = link.veth()?;
            (veth.device_a, veth.device_b)
        } else {
            let impairment = Impairment { delay: self.delay, ..Impairment::NONE };
            let wire = link.impaired(impairment, number.into())?;
            let devices = (wire.device_a.clone(), wire.device_b.clone());
            self.wires.borrow_mut().push(wire);
            devices
        };
        self.links.borrow_mut().push((host.name().to_owned(), at_hub));
        host.route("default", &format!("{first}.{number}.0.254"))?;
        Ok(device)
    }

    /// The hub's end of a host's link.
    ///
    /// # Errors
    /// When the host has none.
    pub fn link_of(&self, host: &Host) -> Result<String> {
        let links = self.links.borrow();
        let found = links.iter().find(|(name, _)| name == host.name());
        Ok(found.with_context(|| format!("{} has no link to the hub", host.name()))?.1.clone())
    }

    /// Gives a host another address on its link to the hub: with the old one goes all that its
    /// connections, and its NAT's, had. Gives it.
    ///
    /// # Errors
    /// When the host has no such link.
    pub fn renumber(&self, host: &Host) -> Result<String> {
        let (link, gateway) = (host.link_to(ADDRESS)?, host.route_word(ADDRESS, "via")?);
        let network = gateway.strip_suffix(".254").context("it is not at the hub")?;
        let new = format!("{network}.77");
        host.ip(["address", "flush", "dev", &link, "scope", "global"])?;
        host.ip(["address", "add", &format!("{new}/24"), "dev", &link])?;
        host.route("default", &gateway)?;
        Ok(new)
    }

    /// Has direct ways between nodes be bad, or good again.
    ///
    /// # Errors
    /// Without nftables.
    pub fn hinder(&self, hindrance: Option<Hindrance<'_>>) -> Result<()> {
        let bad = match hindrance {
            None => String::new(),
            Some(Hindrance::All) => "drop;".to_owned(),
            Some(Hindrance::From(link)) => format!("iifname {link} drop;"),
            Some(Hindrance::Percent(part)) => format!("numgen random mod 100 < {part} drop;"),
        };
        // In one step, so that nothing passes between two hindrances.
        let rules = format!(
            "add table inet hindrance; delete table inet hindrance; table inet hindrance {{ \
                chain bad {{ type filter hook forward priority 0; {bad} }}; \
            }}"
        );
        self.host.run(["nft", &rules]).map(drop)
    }
}

/// Wires of links that take their time; they end with the hub.
pub(super) type Wires = std::cell::RefCell<Vec<ImpairedLink>>;
/// The names of hosts, and of the hub's ends of their links.
pub(super) type Links = std::cell::RefCell<Vec<(String, String)>>;
