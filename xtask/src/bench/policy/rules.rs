//! The rules that are measured: as many as wanted, alike, each for a host of its own.

use std::fmt;
use std::net::Ipv4Addr;

/// The address that enforces the rules, inside the tunnel.
pub(super) const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// The address at the other end of the tunnel.
pub(super) const THERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The network of the rules' sources, which is behind the other end.
pub(super) const SOURCES: &str = "10.64.0.0/12";
const FIRST_SOURCE: u32 = u32::from_be_bytes([10, 64, 0, 0]);
/// Where sources are that no rule names.
const FIRST_STRANGER: u32 = u32::from_be_bytes([10, 72, 0, 0]);
/// The ports that the rules share out among themselves.
pub(super) const PORTS: std::ops::Range<u16> = 8000..8016;

/// What a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A host that may reach one port of [`HERE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) source: Ipv4Addr,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

/// Some rules, in their order. What none of them allows is denied.
#[derive(Clone)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    /// So many.
    pub(super) fn new(count: u32, protocol: Protocol) -> Self {
        let rule =
            |(number, port)| Rule { source: Ipv4Addr::from(FIRST_SOURCE + number), protocol, port };
        Self((0..count).zip(PORTS.cycle()).map(rule).collect())
    }

    /// As many, with this one in the middle, where a list has been half walked through.
    pub(super) fn around(mut self, rule: Rule) -> Self {
        let middle = self.0.len() / 2;
        self.0[middle] = rule;
        self
    }

    /// The same, of which the last one names another port.
    pub(super) fn changed(mut self) -> Self {
        if let Some(last) = self.0.last_mut() {
            last.port += 1000;
        }
        self
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    pub(super) fn last(&self) -> Option<&Rule> {
        self.0.last()
    }

    /// The flow of this number: whose rule it meets, and the port that it comes from. Flows are spread
    /// evenly over all rules, and neighbours do not follow each other.
    #[allow(clippy::cast_possible_truncation, reason = "below a length, and below 60,000")]
    pub(super) fn flow(&self, number: u32) -> (Rule, u16) {
        /// A prime that divides no number of rules that anyone asks for.
        const STRIDE: u64 = 7919;
        let (number, len) = (u64::from(number), self.len());
        let at = number * STRIDE % len;
        (self.0[at as usize], 1024 + (number / len % 60_000) as u16)
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// An address that no rule names.
pub(super) fn stranger(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_STRANGER + number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn packets_meet_all_rules_alike() {
        for count in [10, 1000, 100_000] {
            let rules = Rules::new(count, Protocol::Udp);
            let met: BTreeSet<_> = (0..count).map(|n| rules.flow(n).0.source).collect();
            assert_eq!(met.len(), count as usize);
            assert!(!met.contains(&stranger(0)));
        }
    }

    #[test]
    fn a_change_is_of_one_rule() {
        let rules = Rules::new(100, Protocol::Tcp);
        let changed = rules.clone().changed();
        let differ = rules.iter().zip(changed.iter()).filter(|(old, new)| old != new).count();
        assert_eq!(differ, 1);
    }
}
