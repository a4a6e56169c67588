//! Blocks of sources and destinations that a change treats alike.

use std::ops::Range;

use super::{DifferenceError, Direction, Regions, Said, without};
use crate::{Action, PortRange, ProtocolPorts, ports::first_claims};

/// How often a rule may be held to a block: a few seconds.
const MOST_STEPS: usize = 1 << 26;
/// How many regions all blocks may name together: bounds the memory of those who tell of them.
const MOST_NAMED: usize = 1 << 22;

/// Each of these sources to each of these destinations.
pub(super) struct Block {
    pub(super) direction: Direction,
    pub(super) services: Vec<ProtocolPorts>,
    pub(super) from: Range<u32>,
    pub(super) to: Range<u32>,
}

/// The search for them.
pub(super) struct Blocks<'a> {
    said: &'a [Said],
    from: &'a Regions,
    to: &'a Regions,
    found: Vec<Block>,
    steps: usize,
    named: usize,
}

impl<'a> Blocks<'a> {
    pub(super) const fn new(said: &'a [Said], from: &'a Regions, to: &'a Regions) -> Self {
        Self { said, from, to, found: Vec::new(), steps: 0, named: 0 }
    }

    pub(super) fn find(mut self) -> Result<Vec<Block>, DifferenceError> {
        let all: Vec<&Said> = self.said.iter().collect();
        self.look_at(0..self.from.count(), 0..self.to.count(), &all)?;
        Ok(self.found)
    }

    fn look_at(
        &mut self,
        from: Range<u32>,
        to: Range<u32>,
        said: &[&Said],
    ) -> Result<(), DifferenceError> {
        self.steps += said.len();
        if self.steps > MOST_STEPS || self.named > MOST_NAMED {
            return Err(DifferenceError::TooManyPlaces);
        }
        let (mut parts_from, mut parts_to, mut changed) = (false, false, false);
        let mut here = Vec::new();
        for said in said {
            let sources = self.from.count_in(said.sources, &from);
            let destinations = self.to.count_in(said.destinations, &to);
            if sources > 0 && destinations > 0 {
                here.push(*said);
                parts_from |= sources < from.len();
                parts_to |= destinations < to.len();
                changed |= said.old != said.new;
            }
        }
        if !changed {
            return Ok(());
        }
        if parts_from && (from.len() >= to.len() || !parts_to) {
            for half in halves(from) {
                self.look_at(half, to.clone(), &here)?;
            }
        } else if parts_to {
            for half in halves(to) {
                self.look_at(from.clone(), half, &here)?;
            }
        } else {
            let before = accepted(here.iter().filter(|said| said.old));
            let after = accepted(here.iter().filter(|said| said.new));
            for (direction, services) in [
                (Direction::Gained, without(&after, &before)),
                (Direction::Lost, without(&before, &after)),
            ] {
                if !services.is_empty() {
                    self.named += from.len() + to.len();
                    let (from, to) = (from.clone(), to.clone());
                    self.found.push(Block { direction, services, from, to });
                }
            }
        }
        Ok(())
    }
}

fn halves(whole: Range<u32>) -> [Range<u32>; 2] {
    let middle = whole.start.midpoint(whole.end);
    [whole.start..middle, middle..whole.end]
}

/// What is accepted by those who all speak of the same addresses, in order, neighbours joined.
fn accepted<'s>(said: impl Iterator<Item = &'s &'s Said>) -> Vec<ProtocolPorts> {
    let claim = |said: &&Said| (said.what.protocol, said.action == Action::Accept, said.what.ports);
    // For each protocol, denials first.
    let mut claims: Vec<(u8, bool, PortRange)> = said.map(claim).collect();
    claims.sort_unstable();
    let mut accepted = Vec::new();
    for claims in claims.chunk_by(|one, other| one.0 == other.0) {
        let protocol = claims[0].0;
        let claims: Vec<_> = claims.iter().map(|(_, accept, ports)| (*ports, *accept)).collect();
        let first = first_claims(&claims).into_iter().filter(|(_, accept)| *accept);
        accepted.extend(first.map(|(ports, _)| ProtocolPorts { protocol, ports }));
    }
    accepted
}
