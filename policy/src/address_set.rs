//! Sets of addresses.

use std::cmp::Ordering;
use std::net::IpAddr;

use crate::{Prefix, prefix::mapped};

/// Addresses of both families: prefixes in order, no two of which overlap or are the halves of a
/// third. So one set has one form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressSet(Box<[Prefix]>);

impl AddressSet {
    /// The addresses under any of the prefixes.
    #[must_use]
    pub fn new(mut prefixes: Vec<Prefix>) -> Self {
        prefixes.sort_unstable_by_key(Prefix::order);
        let mut joined: Vec<Prefix> = Vec::with_capacity(prefixes.len());
        for mut prefix in prefixes {
            if joined.last().is_some_and(|before| before.holds(&prefix)) {
                continue;
            }
            while let Some(both) = joined.last().and_then(|before| before.joined(&prefix)) {
                joined.pop();
                prefix = both;
            }
            joined.push(prefix);
        }
        Self(joined.into())
    }

    /// Every address of both families.
    #[must_use]
    pub fn any() -> Self {
        Self([Prefix::V4, Prefix::V6].into())
    }

    /// The prefixes, IPv4 first.
    #[must_use]
    pub const fn prefixes(&self) -> &[Prefix] {
        &self.0
    }

    /// Whether there is no address in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The prefixes that were in `before` and are not here, and those that are new.
    #[must_use]
    pub fn changes(&self, before: &Self) -> (Vec<Prefix>, Vec<Prefix>) {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        let (mut old, mut now) = (before.0.iter().peekable(), self.0.iter().peekable());
        loop {
            let order = match (old.peek(), now.peek()) {
                (None, None) => return (gone, new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(now)) => old.order().cmp(&now.order()),
            };
            let left = old.next_if(|_| order.is_le());
            let right = now.next_if(|_| order.is_ge());
            if order.is_ne() {
                gone.extend(left);
                new.extend(right);
            }
        }
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let number = mapped(address);
        let after = self.0.partition_point(|prefix| {
            (!prefix.is_v4(), prefix.first()) <= (address.is_ipv6(), number)
        });
        after.checked_sub(1).is_some_and(|at| self.0[at].contains(address))
    }
}

impl FromIterator<Prefix> for AddressSet {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        Self::new(prefixes.into_iter().collect())
    }
}
