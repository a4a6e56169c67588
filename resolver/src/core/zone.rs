//! The names of a network, and whose addresses they are.

use std::collections::HashMap;
use std::net::IpAddr;

use hickory_proto::rr::{LowerName, Name};
use ipnet::IpNet;
use proto::control::Netmap;

use super::reverse;

/// A name that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name of a host or domain: letters, digits and hyphens between dots")]
pub struct BadName {
    /// As it was given.
    pub name: String,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A node's addresses.
    Addresses(&'a [IpAddr]),
    /// The node that has this address.
    Node(&'a Name),
    /// There is such a name, without addresses: the domain itself, or one above those of addresses.
    Empty,
    /// In our domain, and not there.
    Nothing,
}

/// All names of a network. It is never changed, only replaced.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// None: no names at all.
    domain: Option<Name>,
    ranges: Vec<IpNet>,
    nodes: HashMap<LowerName, Vec<IpAddr>>,
    pointers: HashMap<LowerName, Name>,
}

impl Zone {
    /// A zone without nodes. The names of all addresses in `ranges` are its business too.
    pub fn new(domain: &str, ranges: Vec<IpNet>) -> Result<Self, BadName> {
        let name = host_name(domain)?;
        Ok(Self { domain: Some(name), ranges, ..Self::default() })
    }

    /// The names of a netmap, and which of them were passed over because they cannot be names.
    #[must_use]
    pub fn of(netmap: &Netmap) -> (Self, Vec<BadName>) {
        if netmap.dns.domain.is_empty() {
            return (Self::default(), Vec::new());
        }
        let ranges = vec![netmap.network.v4.into(), netmap.network.v6.into()];
        let mut zone = match Self::new(&netmap.dns.domain, ranges) {
            Ok(zone) => zone,
            Err(bad) => return (Self::default(), vec![bad]),
        };
        let peers = netmap.peers.values().map(|peer| (&peer.name, &peer.addresses));
        let nodes = std::iter::once((&netmap.me.name, &netmap.me.addresses)).chain(peers);
        let bad = nodes.filter_map(|(name, addresses)| zone.insert(name, addresses).err());
        let bad = bad.collect();
        (zone, bad)
    }

    /// Adds a node: one label below the domain.
    pub fn insert(&mut self, node: &str, addresses: &[IpAddr]) -> Result<(), BadName> {
        let bad = || BadName { name: node.to_owned() };
        let domain = self.domain.as_ref().ok_or_else(bad)?;
        let label = host_name(node)?;
        if label.num_labels() != 1 {
            return Err(bad());
        }
        let name = label.append_domain(domain).map_err(|_| bad())?;
        for address in addresses {
            self.pointers.insert(LowerName::new(&Name::from(*address)), name.clone());
        }
        self.nodes.insert(LowerName::new(&name), addresses.to_vec());
        Ok(())
    }

    /// The domain under which the nodes stand.
    #[must_use]
    pub fn domain(&self) -> Option<&Name> {
        self.domain.as_ref()
    }

    /// The domains of the addresses' names.
    #[must_use]
    pub fn reverse_domains(&self) -> Vec<Name> {
        self.ranges.iter().flat_map(reverse::domains).collect()
    }

    /// The top-level domain, if it is one that is ours: names of other networks are no business of
    /// the world's resolvers.
    pub(super) fn guarded(&self, name: &LowerName) -> bool {
        let is_mesh = |name: &Name| {
            name.iter().next_back().is_some_and(|label| label.eq_ignore_ascii_case(b"mesh"))
        };
        self.domain.as_ref().is_some_and(is_mesh) && is_mesh(name)
    }

    /// What is found under a name, and the zone that says so; none if it is not ours to say.
    pub(super) fn find(&self, name: &LowerName) -> Option<(Found<'_>, Name)> {
        let domain = self.domain.as_ref()?;
        if domain.zone_of(name) {
            let is_domain = name.num_labels() == domain.num_labels();
            let node = self.nodes.get(name).map(|addresses| Found::Addresses(addresses));
            let other = if is_domain { Found::Empty } else { Found::Nothing };
            return Some((node.unwrap_or(other), domain.clone()));
        }
        let part = reverse::enclosing(&self.ranges, name)?;
        let node = self.pointers.get(name).map(Found::Node);
        let other = if part.whole { Found::Nothing } else { Found::Empty };
        Some((node.unwrap_or(other), part.domain))
    }
}

/// A name as hosts have them, from the root.
pub(super) fn host_name(text: &str) -> Result<Name, BadName> {
    let bad = || BadName { name: text.to_owned() };
    let inside = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let good = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(good)
    };
    if !inside.split('.').all(is_label) {
        return Err(bad());
    }
    let mut name = Name::from_ascii(inside).map_err(|_| bad())?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(Zone::new("", vec![]).is_err());
        assert!(Zone::new(".", vec![]).is_err());
        assert!(Zone::new("a..b", vec![]).is_err());
        let mut zone = Zone::new("home.mesh", vec![]).unwrap();
        let bad = ["", "a b", "a.b", "\\046x", "a\n", &"x".repeat(64)];
        for name in bad {
            assert!(zone.insert(name, &[]).is_err(), "{name:?}");
        }
        assert!(zone.insert("web-1", &[]).is_ok());
        assert!(Zone::default().insert("web", &[]).is_err());
    }
}
