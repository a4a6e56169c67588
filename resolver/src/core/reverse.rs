//! The domains of the names of addresses (`in-addr.arpa`, `ip6.arpa`).

use std::net::IpAddr;

use hickory_proto::rr::{LowerName, Name};
use ipnet::IpNet;

/// More than any range gives by itself: an IPv4 /9 has 128.
const MOST: usize = 128;

/// How many bits one label of such a name stands for.
fn step(range: &IpNet) -> u8 {
    match range {
        IpNet::V4(_) => 8,
        IpNet::V6(_) => 4,
    }
}

/// The length of prefix at which such domains can be cut.
fn cut(range: &IpNet) -> u8 {
    range.prefix_len().next_multiple_of(step(range)).max(step(range))
}

/// The domain, of those of `range`, under which the name of `address` stands.
fn domain(range: &IpNet, address: IpAddr) -> Name {
    // `arpa`, and the label before it.
    Name::from(address).trim_to(usize::from(cut(range) / step(range)) + 2)
}

/// All domains that make up a range.
pub(super) fn domains(range: &IpNet) -> Vec<Name> {
    let subnets = range.subnets(cut(range)).into_iter().flatten().take(MOST);
    subnets.map(|subnet| domain(range, subnet.network())).collect()
}

/// The addresses that a name is about, if it is such a name.
fn addresses(name: &LowerName) -> Option<IpNet> {
    Name::from(name).parse_arpa_name().ok()
}

/// What a name in our ranges is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Of the ranges' domains the one that it stands in.
    pub(super) domain: Name,
    /// Whether it is one address's name, not that of many.
    pub(super) whole: bool,
}

/// What a name is about, if it is about addresses of these ranges.
pub(super) fn enclosing(ranges: &[IpNet], name: &LowerName) -> Option<Part> {
    let asked = addresses(name)?;
    let range = ranges.iter().find(|range| range.contains(&asked))?;
    let whole = asked.prefix_len() == asked.max_prefix_len();
    let inside = asked.prefix_len() >= cut(range);
    inside.then(|| Part { domain: domain(range, asked.network()), whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str) -> Vec<String> {
        let range: IpNet = range.parse().unwrap();
        domains(&range).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_are_cut_at_labels() {
        assert_eq!(of("10.7.0.0/16"), ["7.10.in-addr.arpa."]);
        assert_eq!(of("10.7.2.0/23"), ["2.7.10.in-addr.arpa.", "3.7.10.in-addr.arpa."]);
        assert_eq!(of("fd00:1::/30").len(), 4);
        assert_eq!(of("100.64.0.0/10").len(), 64);
        assert_eq!(of("10.0.0.1/32"), ["1.0.0.10.in-addr.arpa."]);
    }

    #[test]
    fn names_outside_are_not_ours() {
        let ranges = ["100.64.0.0/10".parse().unwrap(), "fd00:1::/32".parse().unwrap()];
        let inside = |name: &str| {
            let name = LowerName::from(Name::from_ascii(name).unwrap());
            enclosing(&ranges, &name).map(|part| (part.domain.to_string(), part.whole))
        };
        let v4 = "64.100.in-addr.arpa.".to_owned();
        assert_eq!(inside("1.0.64.100.in-addr.arpa."), Some((v4.clone(), true)));
        assert_eq!(inside("64.100.in-addr.arpa."), Some((v4, false)));
        assert_eq!(inside("100.in-addr.arpa."), None);
        assert_eq!(inside("1.0.128.100.in-addr.arpa."), None);
        let v6 = "1.0.0.0.0.0.d.f.ip6.arpa.".to_owned();
        assert_eq!(inside("5.1.0.0.0.0.0.d.f.ip6.arpa."), Some((v6, false)));
        assert_eq!(inside("in-addr.arpa."), None);
        assert_eq!(inside("home.mesh."), None);
    }
}
