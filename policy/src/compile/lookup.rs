//! What the longest covering prefix says, found by halving.

use std::net::IpAddr;

use crate::{Prefix, prefix::mapped};

/// Where in the common space of both families the answer changes, and to what; nothing where no
/// prefix covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup<T>(Vec<(u128, Option<T>)>);

impl<T> Default for Lookup<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Lookup<T> {
    /// From prefixes sorted by first address, then by length.
    pub(crate) fn new(prefixes: &[(Prefix, T)]) -> Self {
        Self(steps(prefixes))
    }

    pub(crate) fn find(&self, address: IpAddr) -> Option<T> {
        let number = mapped(address);
        let after = self.0.partition_point(|(first, _)| *first <= number);
        self.0.get(after.checked_sub(1)?)?.1
    }

    /// Where the answer changes, and to what.
    pub(crate) fn steps(&self) -> &[(u128, Option<T>)] {
        &self.0
    }
}

fn steps<T: Copy + PartialEq>(prefixes: &[(Prefix, T)]) -> Vec<(u128, Option<T>)> {
    let mut steps: Vec<(u128, Option<T>)> = Vec::new();
    let mut open: Vec<(Prefix, T)> = Vec::new();
    let close_until = |open: &mut Vec<(Prefix, T)>, first: Option<u128>, steps: &mut Vec<_>| {
        while let Some((inner, _)) = open.last()
            && first.is_none_or(|first| inner.last() < first)
        {
            let after = inner.last().checked_add(1);
            open.pop();
            if let Some(after) = after {
                step(steps, after, open.last().map(|(_, value)| *value));
            }
        }
    };
    for &(prefix, value) in prefixes {
        close_until(&mut open, Some(prefix.first()), &mut steps);
        step(&mut steps, prefix.first(), Some(value));
        open.push((prefix, value));
    }
    close_until(&mut open, None, &mut steps);
    steps
}

/// From `first` on, the answer is `value`. A later word on the same address replaces the earlier.
fn step<T: Copy + PartialEq>(steps: &mut Vec<(u128, Option<T>)>, first: u128, value: Option<T>) {
    if steps.last().is_some_and(|(before, _)| *before == first) {
        steps.pop();
    }
    if steps.last().map(|(_, before)| *before) != Some(value) {
        steps.push((first, value));
    }
}
