//! From overlapping prefixes to disjoint sets of addresses.

use std::collections::BTreeMap;

use crate::{Network, Prefix, compile::CompileError};

/// Who an address belongs to, for each address: the longest of `prefixes` that covers it names a
/// set of members.
pub(crate) struct Partition {
    /// Prefixes, and the index into `sets` of those who own its addresses.
    pub(crate) prefixes: Vec<(Prefix, u32)>,
    /// Sorted members. The first set is the empty one.
    pub(crate) sets: Vec<Vec<u32>>,
}

impl Partition {
    /// Divides the addresses by which members' networks hold them.
    pub(crate) fn new(
        members: impl Iterator<Item = (Network, u32)>,
        limit: usize,
    ) -> Result<Self, CompileError> {
        let mut owners: BTreeMap<Prefix, Vec<u32>> = BTreeMap::new();
        for (network, member) in members {
            match network {
                Network::Prefix(prefix) => owners.entry(prefix).or_default().push(member),
                Network::Any => {
                    owners.entry(Prefix::V4).or_default().push(member);
                    owners.entry(Prefix::V6).or_default().push(member);
                }
            }
        }
        // A short IPv6 prefix covers the block of mapped IPv4 addresses in number; this ends it.
        owners.entry(Prefix::V4).or_default();

        let mut sets = Sets::new();
        let mut prefixes = Vec::new();
        let mut enclosing: Vec<(Prefix, u32)> = Vec::new();
        let mut memberships = 0;
        // In this order, a prefix comes after all that enclose it.
        for (prefix, mut set) in owners {
            while enclosing.last().is_some_and(|(outer, _)| !outer.encloses(&prefix)) {
                enclosing.pop();
            }
            let outer = enclosing.last().copied();
            if let Some((outer, id)) = outer
                && outer.is_v4() == prefix.is_v4()
            {
                set.extend_from_slice(sets.members(id));
            }
            set.sort_unstable();
            set.dedup();
            memberships += set.len();
            if memberships > limit {
                return Err(CompileError::TooManyMemberships { limit });
            }
            let id = sets.id_of(set)?;
            // A lookup that ends at the enclosing prefix finds the same set.
            if id != outer.map_or(0, |(_, id)| id) {
                prefixes.push((prefix, id));
            }
            enclosing.push((prefix, id));
        }
        Ok(Self { prefixes, sets: sets.sets })
    }
}

struct Sets {
    sets: Vec<Vec<u32>>,
    ids: BTreeMap<Vec<u32>, u32>,
}

impl Sets {
    fn new() -> Self {
        Self { sets: vec![Vec::new()], ids: BTreeMap::from([(Vec::new(), 0)]) }
    }

    fn members(&self, id: u32) -> &[u32] {
        &self.sets[id as usize]
    }

    fn id_of(&mut self, set: Vec<u32>) -> Result<u32, CompileError> {
        if let Some(id) = self.ids.get(&set) {
            return Ok(*id);
        }
        let id = u32::try_from(self.sets.len()).map_err(|_| CompileError::TooManySets)?;
        self.sets.push(set.clone());
        self.ids.insert(set, id);
        Ok(id)
    }
}
