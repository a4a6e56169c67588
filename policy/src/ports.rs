//! Port ranges, and the prefixes that cover them.

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
    /// Whether the port is one of them.
    #[must_use]
    pub const fn contains(&self, port: u16) -> bool {
        (port ^ self.port).leading_zeros() >= self.bits as u32
    }
}

/// Hands each port to the first rule that claims it.
pub(crate) fn first_claims<R: Copy + PartialEq>(
    claims: impl IntoIterator<Item = (PortRange, R)>,
) -> Vec<(PortRange, R)> {
    let mut unclaimed = vec![PortRange::ALL];
    let mut claimed = Vec::new();
    for (claim, rule) in claims {
        let mut rest = Vec::with_capacity(unclaimed.len() + 1);
        for free in unclaimed {
            let first = free.first.max(claim.first);
            let last = free.last.min(claim.last);
            if first > last {
                rest.push(free);
                continue;
            }
            claimed.push((PortRange { first, last }, rule));
            if free.first < first {
                rest.push(PortRange { first: free.first, last: first - 1 });
            }
            if last < free.last {
                rest.push(PortRange { first: last + 1, last: free.last });
            }
        }
        unclaimed = rest;
        if unclaimed.is_empty() {
            break;
        }
    }
    claimed.sort_by_key(|(range, _)| range.first);
    claimed.dedup_by(|(next, next_rule), (range, rule)| {
        let adjacent = u32::from(range.last) + 1 == u32::from(next.first);
        if adjacent && rule == next_rule {
            range.last = next.last;
            return true;
        }
        false
    });
    claimed
}
