//! Which addresses a node gets.
//!
//! A node has a host number in its network; its IPv4 and its IPv6 address follow from it. Numbers
//! are given in order; one that was given back is given again only when no fresh one is left, and
//! after a quarantine, so that what remembers the old node does not meet the new one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use proto::ticket::UnixSeconds;
use serde::{Deserialize, Serialize};

/// How long a number is not given again, in seconds.
pub const QUARANTINE: u64 = 7 * 24 * 3600;

/// A node's number in its network, from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Host(pub u32);

/// Where the addresses of a network come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPlan {
    v4: Ipv4Net,
    v6: Ipv6Net,
}

/// Prefixes that make no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It would be too small, or public.
    #[error("{0} cannot be a network's: take /8 to /28 of 100.64.0.0/10 or of a private block")]
    V4(Ipv4Net),
    /// It would be public, or not hold what the IPv4 prefix holds.
    #[error("{0} cannot be a network's: take /48 to /64 of fd00::/8")]
    V6(Ipv6Net),
}

/// No number is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {0} addresses of the network are given: make the network larger, or delete nodes")]
pub struct Full(pub u32);

impl AddressPlan {
    /// The plan of these prefixes.
    pub fn new(v4: Ipv4Net, v6: Ipv6Net) -> Result<Self, PlanError> {
        let blocks = ["100.64.0.0/10", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
        let within = |block: &str| block.parse().is_ok_and(|block: Ipv4Net| block.contains(&v4));
        if !(8..=28).contains(&v4.prefix_len()) || !blocks.into_iter().any(within) {
            return Err(PlanError::V4(v4));
        }
        let local = v6.network().octets()[0] == 0xfd;
        if !(48..=64).contains(&v6.prefix_len()) || !local {
            return Err(PlanError::V6(v6));
        }
        Ok(Self { v4: v4.trunc(), v6: v6.trunc() })
    }

    /// The plan of a network that chose nothing: the shared block, and a unique local prefix of
    /// these random bytes (RFC 4193).
    #[must_use]
    pub fn usual(random: [u8; 5]) -> Self {
        let mut prefix = [0; 16];
        prefix[0] = 0xfd;
        prefix[1..6].copy_from_slice(&random);
        Self {
            v4: Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
            v6: Ipv6Net::new_assert(Ipv6Addr::from(prefix), 64),
        }
    }

    /// The IPv4 prefix.
    #[must_use]
    pub const fn v4(&self) -> Ipv4Net {
        self.v4
    }

    /// The IPv6 prefix.
    #[must_use]
    pub const fn v6(&self) -> Ipv6Net {
        self.v6
    }

    /// The last number. The first and the last IPv4 address of a network are nobody's.
    #[must_use]
    pub fn last(&self) -> Host {
        Host((u32::MAX >> self.v4.prefix_len()) - 1)
    }

    /// The addresses of a number.
    #[must_use]
    pub fn addresses(&self, host: Host) -> [IpAddr; 2] {
        let v4 = Ipv4Addr::from_bits(self.v4.network().to_bits() | host.0);
        let v6 = Ipv6Addr::from_bits(self.v6.network().to_bits() | u128::from(host.0));
        [v4.into(), v6.into()]
    }

    /// The next number to give: `fresh` is the first that was never given, `oldest` the one that
    /// was given back first, and when.
    pub fn choose(
        &self,
        fresh: Host,
        oldest: Option<(Host, UnixSeconds)>,
        now: UnixSeconds,
    ) -> Result<Host, Full> {
        let rested = |(_, since): &(Host, UnixSeconds)| now.0 >= since.0.saturating_add(QUARANTINE);
        if fresh <= self.last() {
            return Ok(fresh);
        }
        oldest.filter(rested).map(|(host, _)| host).ok_or(Full(self.last().0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn plan(v4: &str) -> Result<AddressPlan, PlanError> {
        AddressPlan::new(v4.parse().unwrap(), "fd12::/64".parse().unwrap())
    }

    #[test]
    fn addresses_are_distinct_and_inside() {
        let plan = plan("10.9.8.0/24").unwrap();
        assert_eq!(plan.last(), Host(254));
        let all: HashSet<IpAddr> = (1..=254).flat_map(|host| plan.addresses(Host(host))).collect();
        assert_eq!(all.len(), 508);
        assert!(!all.contains(&"10.9.8.0".parse().unwrap()));
        assert!(!all.contains(&"10.9.8.255".parse().unwrap()));
        let usual = AddressPlan::usual([1, 2, 3, 4, 5]);
        assert_eq!(usual.addresses(Host(1))[0].to_string(), "100.64.0.1");
        assert_eq!(usual.addresses(Host(259))[1].to_string(), "fd01:203:405::103");
        assert_eq!(usual.addresses(usual.last())[0].to_string(), "100.127.255.254");
    }

    #[test]
    fn fresh_numbers_come_first_then_those_that_rested() {
        let plan = plan("10.9.8.0/28").unwrap();
        let (now, back) = (UnixSeconds(QUARANTINE + 5), (Host(3), UnixSeconds(5)));
        assert_eq!(plan.choose(Host(14), Some(back), now), Ok(Host(14)));
        assert_eq!(plan.choose(Host(15), Some(back), now), Ok(Host(3)));
        assert_eq!(plan.choose(Host(15), Some(back), UnixSeconds(now.0 - 1)), Err(Full(14)));
        assert_eq!(plan.choose(Host(15), None, now), Err(Full(14)));
    }

    #[test]
    fn a_plan_is_private_and_neither_too_large_nor_too_small() {
        for wrong in ["8.8.8.0/24", "10.0.0.0/29", "100.0.0.0/8", "0.0.0.0/0"] {
            assert!(matches!(plan(wrong), Err(PlanError::V4(_))), "{wrong}");
        }
        let v4 = "10.0.0.0/16".parse().unwrap();
        for wrong in ["fd00::/47", "fd00::/65", "2001:db8::/64", "fc00::/64"] {
            let plan = AddressPlan::new(v4, wrong.parse().unwrap());
            assert!(matches!(plan, Err(PlanError::V6(_))), "{wrong}");
        }
    }
}
