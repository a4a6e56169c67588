//! Whether each node's own filter fits into its tables. To compile ten thousand filters takes minutes,
//! so most are found to fit by an estimate from above, made of what many of them share.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher as _,
    rc::Rc,
};

use super::{
    Grant, Plan,
    parties::{Parties, PartyId},
    roster::Slot,
};
use crate::{
    AddressSet, CompileError, Filter, MAX_MEMBERSHIPS, MAX_TABLE_ENTRIES, NodeName, Prefix,
    ProtocolPorts, RuleIndex, compile::Partition, has_ports,
};

/// A set of no more than so many addresses, and of no prefixes, is counted by its addresses.
const FEW: usize = 64;
/// Larger ones too, the smallest first, as long as they are no more than so many together.
const SOME: usize = 1_024;
/// Into how many more prefixes of ports the end of another range can cut one.
const CUT: usize = 16;

/// A node whose filter does not fit into its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The node.
    pub node: NodeName,
    /// Why; a rule is named by its position in the document.
    pub error: CompileError,
}

/// What was worked out for one node and serves the next.
struct Estimates {
    parties: Vec<Option<Known>>,
    divided: HashMap<Vec<PartyId>, Option<Rc<Divided>>>,
    services: Vec<Ports>,
    /// For each party how many single addresses are in it; zero between nodes.
    singles: Vec<usize>,
}

/// What a list of services takes between two addresses.
#[derive(Clone, Copy, Default)]
struct Ports {
    /// Entries, where no other rule speaks of any of these ports.
    prefixes: usize,
    /// Ranges that may cut those of other rules.
    ranges: usize,
    /// Those of more than one port, which others may cut.
    wide: usize,
}

/// What is known of a party.
struct Known {
    /// How many addresses it is, if it is nothing else.
    addresses: Option<usize>,
    /// For each of them, the parties of more than a few that hold it.
    within: Vec<PartyId>,
}

/// Sets that the filters of many nodes share, divided into disjoint ones.
struct Divided {
    prefixes: usize,
    /// Into how many each was divided.
    parts: Vec<usize>,
    memberships: usize,
}

impl Plan {
    /// A node whose filter is too large, if there is one. Of many nodes that the same rules concern,
    /// one is compiled, that with the most in them, as long as it takes no more than half of the room.
    #[must_use]
    pub fn unfit(&self) -> Option<Unfit> {
        let mut estimates = Estimates::new(self);
        let mut alike: HashMap<u64, Vec<(usize, usize, Slot)>> = HashMap::new();
        let hasher = RandomState::new();
        for (slot, seat) in self.roster.slots() {
            let most = self.most_entries_of(slot, &mut estimates);
            if most.is_none_or(|most| most > MAX_TABLE_ENTRIES) {
                let rules = hasher.hash_one(self.filter_of(slot).rules());
                let weight = (most.unwrap_or(usize::MAX), seat.node.prefixes().count(), slot);
                alike.entry(rules).or_default().push(weight);
            }
        }
        let mut alike: Vec<_> = alike.into_values().collect();
        alike.iter_mut().for_each(|nodes| nodes.sort_unstable_by(|one, other| other.cmp(one)));
        // The heaviest first: what is too large is found soon.
        alike.sort_unstable_by(|one, other| other.first().cmp(&one.first()));
        alike.iter().find_map(|nodes| {
            for &(_, _, slot) in nodes {
                let filter = self.filter_of(slot);
                match filter.compile() {
                    Ok(tables) if tables.table_entries() <= MAX_TABLE_ENTRIES / 2 => return None,
                    Ok(_) => {}
                    Err(error) => return self.unfit_by(slot, &filter, error),
                }
            }
            None
        })
    }

    fn unfit_by(&self, slot: Slot, filter: &Filter, error: CompileError) -> Option<Unfit> {
        let node = self.roster.seat(slot)?.node.name.clone();
        let error = match error {
            CompileError::TooManyEntries { limit, widest } => {
                let rule = filter.rules[widest.0 as usize];
                let widest = RuleIndex(self.planned(rule).position);
                CompileError::TooManyEntries { limit, widest }
            }
            CompileError::TooManyMemberships { .. } | CompileError::TooManySets => error,
        };
        Some(Unfit { node, error })
    }

    /// The most table entries that the filter of a node may take, estimated from above; nothing if
    /// only compiling tells, or if there is no such node.
    #[must_use]
    pub fn most_table_entries(&self, name: &NodeName) -> Option<usize> {
        self.most_entries_of(self.roster.slot(name)?, &mut Estimates::new(self))
    }

    fn most_entries_of(&self, slot: Slot, estimates: &mut Estimates) -> Option<usize> {
        let own = &self.roster.seat(slot)?.own;
        if !own.prefixes().iter().all(Prefix::is_host) {
            return None;
        }
        let addresses = own.prefixes().len();
        // No rule tells its addresses apart, if each names all of them or none.
        let whole = self.parties.touching(slot).all(|(_, part)| part == own);
        let own_parts = if whole { 1 } else { addresses };
        let mut most = 0;
        for outward in [true, false] {
            let mut others: Vec<PartyId> =
                self.granted(slot, outward).map(|(party, _)| party).collect();
            others.sort_unstable();
            others.dedup();
            let (few, many) = estimates.split(&others, &self.parties);
            let divided = estimates.divided(&many, &self.parties)?;
            let size = |party: &PartyId| self.parties.set(*party).prefixes().len();
            let single = addresses + few.iter().map(size).sum::<usize>();
            if divided.memberships + single * (others.len() + 1) > MAX_MEMBERSHIPS {
                return None;
            }
            most += divided.prefixes + single;
            // A single address parts one set of the many from those that are otherwise like it.
            let singles = estimates.singles_in(&many, &few);
            // Cuts are told by who cuts, or by who is cut by whatever there is, where that is less.
            let ends =
                2 * estimates.ranges(self.granted(slot, outward).map(|(_, services)| services));
            let (mut cutting, mut being_cut) = (0, 0);
            for (party, services) in self.granted(slot, outward) {
                let parts = match many.binary_search(&party) {
                    Ok(at) => divided.parts[at] + addresses + singles[at],
                    Err(_) => size(&party),
                };
                let Ports { prefixes, ranges, wide } = estimates.services[services as usize];
                let pairs = own_parts * parts;
                cutting += pairs * (prefixes + 2 * CUT * ranges);
                being_cut += pairs * (prefixes + CUT * ends * wide);
            }
            most += cutting.min(being_cut);
        }
        Some(most)
    }

    /// To whom a node may open flows, or who to it: party and services of each grant.
    fn granted(&self, slot: Slot, outward: bool) -> impl Iterator<Item = (PartyId, u32)> {
        let parties = self.parties.touching(slot);
        let grants = parties.flat_map(|(party, _)| self.parties.grants(*party));
        let grants = grants.filter(move |(_, is_source)| *is_source == outward);
        let other = move |grant: &Grant| {
            (if outward { grant.destinations } else { grant.sources }, grant.services)
        };
        grants.filter_map(move |(grant, _)| self.grant(*grant).map(other))
    }
}

impl Estimates {
    fn new(plan: &Plan) -> Self {
        let lists = plan.services.lists.iter();
        Self {
            parties: std::iter::repeat_with(|| None).take(plan.parties.count()).collect(),
            divided: HashMap::new(),
            services: lists.map(|list| Ports::new(list)).collect(),
            singles: vec![0; plan.parties.count()],
        }
    }

    /// How many ranges of ports there are in these lists of services.
    fn ranges(&self, services: impl Iterator<Item = u32>) -> usize {
        let mut services: Vec<u32> = services.collect();
        services.sort_unstable();
        services.dedup();
        services.into_iter().map(|list| self.services[list as usize].ranges).sum()
    }

    /// The parties that are counted by their addresses, and the others, these in order.
    fn split(&mut self, all: &[PartyId], parties: &Parties) -> (Vec<PartyId>, Vec<PartyId>) {
        let size = |party: &PartyId| self.known(*party, parties).addresses.unwrap_or(usize::MAX);
        let mut sized: Vec<(usize, PartyId)> =
            all.iter().map(size).zip(all.iter().copied()).collect();
        sized.sort_unstable();
        let mut together = 0usize;
        let too_many = |(size, _): &(usize, PartyId)| {
            if *size > FEW {
                together = together.saturating_add(*size);
            }
            together > SOME
        };
        let after = sized.iter().position(too_many).unwrap_or(sized.len());
        let [few, mut many] = [&sized[..after], &sized[after..]]
            .map(|sized| sized.iter().map(|(_, party)| *party).collect::<Vec<_>>());
        many.sort_unstable();
        (few, many)
    }

    fn known(&mut self, id: PartyId, parties: &Parties) -> &Known {
        self.parties[id.0 as usize].get_or_insert_with(|| {
            let prefixes = parties.set(id).prefixes();
            if prefixes.len() > SOME || !prefixes.iter().all(Prefix::is_host) {
                return Known { addresses: None, within: Vec::new() };
            }
            let more = |party: &PartyId| {
                let prefixes = parties.set(*party).prefixes();
                prefixes.len() > FEW || !prefixes.iter().all(Prefix::is_host)
            };
            let within = prefixes.iter().flat_map(|address| parties.over(*address)).filter(more);
            Known { addresses: Some(prefixes.len()), within: within.collect() }
        })
    }

    /// How many addresses of the few are in each of the many.
    fn singles_in(&mut self, many: &[PartyId], few: &[PartyId]) -> Vec<usize> {
        let known = few.iter().filter_map(|party| self.parties[party.0 as usize].as_ref());
        let within = || known.clone().flat_map(|known| &known.within);
        within().for_each(|party| self.singles[party.0 as usize] += 1);
        let counted = many.iter().map(|party| self.singles[party.0 as usize]).collect();
        within().for_each(|party| self.singles[party.0 as usize] = 0);
        counted
    }

    /// What these are divided into; nothing if they overlap too much.
    fn divided(&mut self, many: &[PartyId], parties: &Parties) -> Option<Rc<Divided>> {
        if let Some(known) = self.divided.get(many) {
            return known.clone();
        }
        let members: Vec<(u32, &AddressSet)> =
            (0..).zip(many).map(|(number, party)| (number, &**parties.set(*party))).collect();
        let all = Partition::new(&members, many.len(), MAX_MEMBERSHIPS).ok();
        let named: usize = members.iter().map(|(_, set)| set.prefixes().len()).sum();
        let divided = all.map(|all| {
            let parts = all.sets_of.iter().map(Vec::len).collect();
            let memberships = named * many.len();
            Rc::new(Divided { prefixes: all.prefixes.len(), parts, memberships })
        });
        self.divided.insert(many.to_vec(), divided.clone());
        divided
    }
}

impl Ports {
    fn new(services: &[ProtocolPorts]) -> Self {
        let mut all = Self::default();
        for ProtocolPorts { protocol, ports } in services {
            all.prefixes += ports.prefixes().count();
            if has_ports(*protocol) {
                all.ranges += 1;
                all.wide += usize::from(ports.first < ports.last);
            }
        }
        all
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what the node {} has to enforce is too much: {}", self.node, self.error)
    }
}

impl std::error::Error for Unfit {}
