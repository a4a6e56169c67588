//! Which peer an address belongs to: longest prefix match, one path-compressed binary tree for
//! both families.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks and to whom they belong. An address belongs to the owner of the longest of them.
#[derive(Clone, Debug)]
pub struct AllowedIps<T> {
    /// One tree for each family: a v6 default route must not catch v4 addresses.
    roots: [Option<Index>; 2],
    nodes: Vec<Node<T>>,
    free: Vec<Index>,
    /// Each owner's networks: taking one owner's away must not cost a walk of the whole tree.
    owned: HashMap<T, Vec<(usize, Prefix)>>,
}

type Index = u32;

#[derive(Clone, Debug)]
struct Node<T> {
    prefix: Prefix,
    owner: Option<T>,
    children: [Option<Index>; 2],
}

/// The first `len` bits of `bits`, counted from the top; the rest is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix {
    bits: u128,
    len: u8,
}

impl<T> Default for AllowedIps<T> {
    fn default() -> Self {
        Self { roots: [None; 2], nodes: Vec::new(), free: Vec::new(), owned: HashMap::new() }
    }
}

impl<T: Copy + Eq + Hash> AllowedIps<T> {
    /// The owner of the longest network that holds the address.
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> Option<T> {
        let (family, bits) = address_bits(address);
        let mut found = None;
        let mut next = self.roots[family];
        while let Some(index) = next {
            let node = &self.nodes[index as usize];
            if !node.prefix.holds(bits) {
                break;
            }
            found = node.owner.or(found);
            next = (node.prefix.len < 128)
                .then(|| node.children[bit(bits, node.prefix.len)])
                .flatten();
        }
        found
    }

    /// Gives a network to an owner, taking it from whoever had exactly this network.
    pub fn insert(&mut self, network: IpNet, owner: T) {
        let (family, prefix) = network_prefix(network);
        let mut before = None;
        let root = self.insert_at(self.roots[family], prefix, owner, &mut before);
        self.roots[family] = Some(root);
        if before == Some(owner) {
            return;
        }
        if let Some(before) = before {
            self.disown((family, prefix), before);
        }
        self.owned.entry(owner).or_default().push((family, prefix));
    }

    /// Takes a network from an owner; nothing happens if it is another's.
    pub fn remove(&mut self, network: IpNet, owner: T) {
        let (family, prefix) = network_prefix(network);
        self.disown((family, prefix), owner);
        self.roots[family] = self.remove_at(self.roots[family], prefix, owner);
    }

    /// Takes every network from an owner.
    pub fn remove_all(&mut self, owner: T) {
        for (family, prefix) in self.owned.remove(&owner).unwrap_or_default() {
            self.roots[family] = self.remove_at(self.roots[family], prefix, owner);
        }
    }

    fn disown(&mut self, network: (usize, Prefix), owner: T) {
        if let Some(owned) = self.owned.get_mut(&owner) {
            owned.retain(|other| *other != network);
        }
    }

    /// Every network with its owner, shorter before longer, lower before higher.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, T)> + '_ {
        let mut stack: Vec<(usize, Index)> = Vec::new();
        stack.extend(self.roots.iter().enumerate().rev().filter_map(|(f, r)| Some((f, (*r)?))));
        std::iter::from_fn(move || {
            let (family, index) = stack.pop()?;
            let node = &self.nodes[index as usize];
            stack.extend(node.children.iter().rev().flatten().map(|&child| (family, child)));
            Some((family, node))
        })
        .filter_map(|(family, node)| Some((node.prefix.network(family)?, node.owner?)))
    }

    /// Puts a network under (or in place of) the node `at`; gives the subtree's new top, and who had
    /// exactly this network before.
    fn insert_at(
        &mut self,
        at: Option<Index>,
        prefix: Prefix,
        owner: T,
        before: &mut Option<T>,
    ) -> Index {
        let Some(index) = at else {
            return self.add(Node { prefix, owner: Some(owner), children: [None; 2] });
        };
        let node = &mut self.nodes[index as usize];
        let common = node.prefix.common_len(prefix);
        if common == node.prefix.len && common == prefix.len {
            *before = node.owner.replace(owner);
            return index;
        }
        if common == node.prefix.len {
            let side = bit(prefix.bits, common);
            let child = node.children[side];
            let child = self.insert_at(child, prefix, owner, before);
            self.nodes[index as usize].children[side] = Some(child);
            return index;
        }
        let old_side = bit(node.prefix.bits, common);
        let mut top =
            Node { prefix: Prefix::new(prefix.bits, common), owner: None, children: [None; 2] };
        top.children[old_side] = Some(index);
        if common == prefix.len {
            top.owner = Some(owner);
        } else {
            let leaf = Node { prefix, owner: Some(owner), children: [None; 2] };
            top.children[1 - old_side] = Some(self.add(leaf));
        }
        self.add(top)
    }

    /// Takes a network from its owner, dissolves nodes that no longer decide anything; gives the
    /// subtree's new top.
    fn remove_at(&mut self, at: Option<Index>, prefix: Prefix, owner: T) -> Option<Index> {
        let index = at?;
        let node = &mut self.nodes[index as usize];
        if node.prefix == prefix {
            node.owner = node.owner.filter(|other| *other != owner);
        } else if node.prefix.len < prefix.len && node.prefix.holds(prefix.bits) {
            let side = bit(prefix.bits, node.prefix.len);
            let child = node.children[side];
            let child = self.remove_at(child, prefix, owner);
            self.nodes[index as usize].children[side] = child;
        }
        let node = &self.nodes[index as usize];
        match (node.owner, node.children) {
            (Some(_), _) | (None, [Some(_), Some(_)]) => Some(index),
            (None, [only, None] | [None, only]) => {
                self.free.push(index);
                only
            }
        }
    }

    fn add(&mut self, node: Node<T>) -> Index {
        if let Some(index) = self.free.pop() {
            self.nodes[index as usize] = node;
            return index;
        }
        self.nodes.push(node);
        Index::try_from(self.nodes.len() - 1).unwrap_or_else(|_| unreachable!("2^32 networks"))
    }
}

impl Prefix {
    const fn new(bits: u128, len: u8) -> Self {
        Self { bits: bits & mask(len), len }
    }

    const fn holds(self, bits: u128) -> bool {
        (bits ^ self.bits) & mask(self.len) == 0
    }

    fn common_len(self, other: Self) -> u8 {
        let same = (self.bits ^ other.bits).leading_zeros();
        u8::try_from(same).map_or(128, |same| same).min(self.len).min(other.len)
    }

    fn network(self, family: usize) -> Option<IpNet> {
        let bytes = self.bits.to_be_bytes();
        if family == 0 {
            let address = Ipv4Addr::from(*bytes.first_chunk::<4>()?);
            return Some(Ipv4Net::new(address, self.len).ok()?.into());
        }
        Some(Ipv6Net::new(Ipv6Addr::from(bytes), self.len).ok()?.into())
    }
}

const fn mask(len: u8) -> u128 {
    match len {
        0 => 0,
        len => u128::MAX << (128 - len as u32),
    }
}

/// The bit at `position`, counted from the top.
const fn bit(bits: u128, position: u8) -> usize {
    (bits >> (127 - position as u32) & 1) as usize
}

/// The family's root, and the address with its first bit at the top.
fn address_bits(address: IpAddr) -> (usize, u128) {
    match address {
        IpAddr::V4(address) => (0, u128::from(u32::from(address)) << 96),
        IpAddr::V6(address) => (1, u128::from(address)),
    }
}

fn network_prefix(network: IpNet) -> (usize, Prefix) {
    let (family, bits) = address_bits(network.addr());
    (family, Prefix::new(bits, network.prefix_len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few distinct addresses and all lengths, so that networks nest and collide.
    fn network() -> impl Strategy<Value = IpNet> {
        let v4 = (0u32..8, 0u8..=32)
            .prop_map(|(a, len)| Ipv4Net::new((a << 29 | a).into(), len).unwrap().trunc().into());
        let v6 = (0u128..8, 0u8..=128)
            .prop_map(|(a, len)| Ipv6Net::new((a << 125 | a).into(), len).unwrap().trunc().into());
        prop_oneof![v4, v6]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(IpNet, u8),
        Remove(IpNet, u8),
        RemoveAll(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (network(), 0u8..4).prop_map(|(network, owner)| Step::Insert(network, owner)),
            2 => (network(), 0u8..4).prop_map(|(network, owner)| Step::Remove(network, owner)),
            1 => (0u8..4).prop_map(Step::RemoveAll),
        ]
    }

    proptest! {
        #[test]
        fn equals_a_naive_table(
            steps in proptest::collection::vec(step(), 0..40),
            probes in proptest::collection::vec(network(), 20),
        ) {
            let mut table = AllowedIps::default();
            let mut naive: Vec<(IpNet, u8)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(network, owner) => {
                        table.insert(network, owner);
                        naive.retain(|&(other, _)| other != network);
                        naive.push((network, owner));
                    }
                    Step::Remove(network, owner) => {
                        table.remove(network, owner);
                        naive.retain(|&entry| entry != (network, owner));
                    }
                    Step::RemoveAll(owner) => {
                        table.remove_all(owner);
                        naive.retain(|&(_, other)| other != owner);
                    }
                }
            }
            for address in probes.iter().map(IpNet::addr) {
                let longest = naive
                    .iter()
                    .filter(|(network, _)| network.contains(&address))
                    .max_by_key(|(network, _)| network.prefix_len());
                prop_assert_eq!(table.lookup(address), longest.map(|&(_, owner)| owner));
            }
            let mut listed: Vec<_> = table.iter().collect();
            listed.sort_unstable();
            naive.sort_unstable();
            prop_assert_eq!(listed, naive);
            let live = table.nodes.len() - table.free.len();
            prop_assert!(live <= 2 * table.iter().count(), "dissolved nodes are given back");
        }
    }
}
