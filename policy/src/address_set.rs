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
        Self::of_ordered(prefixes)
    }

    fn of_ordered(prefixes: Vec<Prefix>) -> Self {
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
        self.around(address).is_ok()
    }

    /// The set with the address in it, or without it; nothing if that is how it is.
    pub(crate) fn with(&self, address: IpAddr, inside: bool) -> Option<Self> {
        match (self.around(address), inside) {
            (Ok(_), true) | (Err(_), false) => None,
            (Err(at), true) => {
                let mut prefixes = self.0.to_vec();
                prefixes.insert(at, Prefix::host(address));
                Some(Self::of_ordered(prefixes))
            }
            (Ok(at), false) => {
                let mut prefixes = self.0.to_vec();
                prefixes.splice(at..=at, self.0[at].without(address));
                Some(Self(prefixes.into()))
            }
        }
    }

    /// Whether a prefix of it holds this one.
    pub(crate) fn holds(&self, prefix: &Prefix) -> bool {
        self.around(prefix.address()).is_ok_and(|at| self.0[at].holds(prefix))
    }

    /// The prefixes that this one holds.
    pub(crate) fn within(&self, outer: &Prefix) -> &[Prefix] {
        let key = |prefix: &Prefix| (!prefix.is_v4(), prefix.first());
        let family = !outer.is_v4();
        let from = self.0.partition_point(|prefix| key(prefix) < (family, outer.first()));
        let to = self.0.partition_point(|prefix| key(prefix) <= (family, outer.last()));
        &self.0[from..to]
    }

    /// Where the prefix is that holds the address; or else where one would have to be.
    fn around(&self, address: IpAddr) -> Result<usize, usize> {
        let number = mapped(address);
        let after = self.0.partition_point(|prefix| {
            (!prefix.is_v4(), prefix.first()) <= (address.is_ipv6(), number)
        });
        let holder = after.checked_sub(1).filter(|at| self.0[*at].contains(address));
        holder.ok_or(after)
    }
}

impl FromIterator<Prefix> for AddressSet {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        Self::new(prefixes.into_iter().collect())
    }
}
