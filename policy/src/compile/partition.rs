//! From overlapping sets of addresses to disjoint ones.

use std::collections::HashMap;

use crate::{AddressSet, CompileError, Prefix};

/// Who an address belongs to, for each address: the longest of `prefixes` that covers it names a
/// set of members.
pub(crate) struct Partition {
    /// Prefixes in order, and the index into `sets` of those who own its addresses.
    pub(crate) prefixes: Vec<(Prefix, u32)>,
    /// The members of each set. The first set is the empty one.
    pub(crate) sets: Vec<Vec<u32>>,
    /// For each member, the sets that it is in.
    pub(crate) sets_of: Vec<Vec<u32>>,
}

impl Partition {
    /// Divides the addresses by which members hold them; members are numbered below `numbers`.
    pub(crate) fn new(
        members: &[(u32, &AddressSet)],
        numbers: usize,
        limit: usize,
    ) -> Result<Self, CompileError> {
        let mut owned: Vec<(Prefix, u32)> = members
            .iter()
            .flat_map(|(member, set)| set.prefixes().iter().map(|prefix| (*prefix, *member)))
            .collect();
        owned.sort_unstable();

        let mut sets = Sets::new();
        let mut prefixes = Vec::new();
        let mut enclosing: Vec<(Prefix, u32)> = Vec::new();
        let mut memberships = 0;
        let mut close = |prefix: Prefix, own: &[(Prefix, u32)]| {
            while enclosing.last().is_some_and(|(outer, _)| !outer.encloses(&prefix)) {
                enclosing.pop();
            }
            let outer = enclosing.last().copied();
            let mut set: Vec<u32> = own.iter().map(|(_, member)| *member).collect();
            if let Some((outer, id)) = outer
                && outer.is_v4() == prefix.is_v4()
            {
                // No set's own prefixes overlap, so none of these is in it yet.
                set.extend_from_slice(&sets.sets[id as usize]);
                set.sort_unstable();
            }
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
            Ok(())
        };
        // A short IPv6 prefix covers the block of mapped IPv4 addresses in number; this ends it.
        let v4 = owned.partition_point(|(prefix, _)| *prefix < Prefix::V4);
        let ended = owned.get(v4).is_some_and(|(prefix, _)| *prefix == Prefix::V4);
        // In this order, a prefix comes after all that enclose it.
        for own in owned[..v4].chunk_by(|(one, _), (other, _)| one == other) {
            close(own[0].0, own)?;
        }
        if !ended {
            close(Prefix::V4, &[])?;
        }
        for own in owned[v4..].chunk_by(|(one, _), (other, _)| one == other) {
            close(own[0].0, own)?;
        }

        let mut sets_of = vec![Vec::new(); numbers];
        for (set, id) in sets.sets.iter().zip(0..) {
            for &member in set {
                sets_of[member as usize].push(id);
            }
        }
        Ok(Self { prefixes, sets: sets.sets, sets_of })
    }
}

struct Sets {
    sets: Vec<Vec<u32>>,
    ids: HashMap<Vec<u32>, u32>,
}

impl Sets {
    fn new() -> Self {
        Self { sets: vec![Vec::new()], ids: HashMap::from([(Vec::new(), 0)]) }
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
