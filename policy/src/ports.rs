//! Port ranges, and the prefixes that cover them.

use std::{fmt, str::FromStr};

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest; not below `first`.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether the port is in the range.
    #[must_use]
    pub const fn contains(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// The fewest prefixes that cover just this range, in order.
    pub(crate) fn prefixes(self) -> impl Iterator<Item = PortPrefix> {
        let mut next = Some(self.first);
        std::iter::from_fn(move || {
            let first = next?;
            // The largest block that begins here and ends within the range.
            let aligned = first.trailing_zeros().min(16);
            let left = u32::from(self.last - first) + 1;
            let free = aligned.min(left.ilog2());
            let end = u32::from(first) + (1 << free);
            next = u16::try_from(end).ok().filter(|&end| end <= self.last);
            Some(PortPrefix { port: first, bits: u8::try_from(16 - free).unwrap_or(16) })
        })
    }
}

/// The ports that share the leading `bits` of `port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortPrefix {
    /// The lowest of them.
    pub port: u16,
    /// How many bits they share.
    pub bits: u8,
}

impl PortPrefix {
    /// The highest of them.
    #[must_use]
    pub const fn last(&self) -> u16 {
        match u16::MAX.checked_shr(self.bits as u32) {
            Some(free) => self.port | free,
            None => self.port,
        }
    }

    /// Whether the port is one of them.
    #[must_use]
    pub const fn contains(&self, port: u16) -> bool {
        (port ^ self.port).leading_zeros() >= self.bits as u32
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => f.write_str("*"),
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// A number as a policy writes it: no sign, no leading zero.
pub(crate) fn decimal<N: FromStr>(text: &str) -> Option<N> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Hands each port to the first of the claims on it. Gives ranges in order, neighbours of one
/// claimant joined.
pub(crate) fn first_claims<R: Copy + PartialEq>(claims: &[(PortRange, R)]) -> Vec<(PortRange, R)> {
    if let [claim] = claims {
        return vec![*claim];
    }
    // Between two neighbouring bounds every port has the same claims: a segment.
    let mut bounds: Vec<u32> = claims
        .iter()
        .flat_map(|(range, _)| [u32::from(range.first), u32::from(range.last) + 1])
        .collect();
    bounds.sort_unstable();
    bounds.dedup();
    let segment = |bound: u32| bounds.partition_point(|&other| other < bound);
    let mut owners = vec![None; bounds.len().saturating_sub(1)];
    // Where the next segment without an owner may be; found anew by following the links.
    let mut free: Vec<usize> = (0..bounds.len()).collect();
    for &(range, claimant) in claims {
        let end = segment(u32::from(range.last) + 1);
        let mut at = next_free(&mut free, segment(u32::from(range.first)));
        while at < end {
            owners[at] = Some(claimant);
            free[at] = at + 1;
            at = next_free(&mut free, at + 1);
        }
    }
    let mut claimed: Vec<(PortRange, R)> = Vec::with_capacity(owners.len());
    for (owner, ends) in owners.into_iter().zip(bounds.windows(2)) {
        let Some(owner) = owner else { continue };
        let port = |bound: u32| u16::try_from(bound).unwrap_or(u16::MAX);
        let (first, last) = (port(ends[0]), port(ends[1] - 1));
        match claimed.last_mut() {
            Some((before, same)) if *same == owner && u32::from(before.last) + 1 == ends[0] => {
                before.last = last;
            }
            _ => claimed.push((PortRange { first, last }, owner)),
        }
    }
    claimed
}

/// The first free segment from `at` on; shortens the way for those who come later.
fn next_free(free: &mut [usize], at: usize) -> usize {
    let mut found = at;
    while free[found] != found {
        found = free[found];
    }
    let mut behind = at;
    while free[behind] != found {
        behind = std::mem::replace(&mut free[behind], found);
    }
    found
}
