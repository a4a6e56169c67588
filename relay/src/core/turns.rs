//! Packets that wait, each sender's in turn. Whatever is asked costs as much for ten thousand senders
//! as for ten, but for the height of a heap.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proto::key::PublicKey;

use super::chain::Chain;
use super::heaviest::{Heaviest, Ticket};
use super::queue::Queued;
use super::slab::{Index, Slab};

/// What of a sender's packets goes before the next sender has its turn.
const TURN: usize = 64 << 10;

/// Packets of any number of senders.
#[derive(Debug)]
pub(super) struct Turns<P> {
    packets: Slab<Held<P>>,
    /// All packets, the oldest first.
    ages: Chain,
    senders: Slab<Sender>,
    by_key: HashMap<PublicKey, Index>,
    /// Senders in the order of their turns.
    turns: Chain,
    most: Heaviest<Index>,
    cost: usize,
}

#[derive(Debug)]
struct Held<P> {
    packet: P,
    sender: Index,
    /// The sender's next one.
    next: Option<Index>,
}

/// What one place takes.
#[cfg(test)]
pub(super) const fn place<P>() -> usize {
    size_of::<Held<P>>() + size_of::<u32>()
}

/// Who has packets here, at least one.
#[derive(Debug)]
struct Sender {
    key: PublicKey,
    first: Option<Index>,
    last: Option<Index>,
    cost: usize,
    /// What is left of this turn.
    left: usize,
    standing: Option<Ticket>,
}

impl<P> Default for Turns<P> {
    fn default() -> Self {
        Self {
            packets: Slab::new(),
            ages: Chain::default(),
            senders: Slab::new(),
            by_key: HashMap::new(),
            turns: Chain::default(),
            most: Heaviest::default(),
            cost: 0,
        }
    }
}

impl<P: Queued> Turns<P> {
    /// What all that wait cost.
    pub(super) const fn cost(&self) -> usize {
        self.cost
    }

    /// When the one that has waited longest came.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.packets.at(self.ages.first()?).map(|(_, held)| held.packet.at())
    }

    /// Keeps packets; they come in the order of their times.
    pub(super) fn push(&mut self, packet: P) {
        let cost = packet.cost();
        let Some(sender) = self.sender(packet.sender()) else { return };
        let Some(at) = self.packets.insert(Held { packet, sender, next: None }) else { return };
        self.ages.push(at.slot());
        self.cost += cost;
        let Some(known) = self.senders.get_mut(sender) else { return };
        known.cost += cost;
        self.most.weigh(&mut known.standing, sender, known.cost);
        known.first.get_or_insert(at);
        if let Some(before) = known.last.replace(at).and_then(|last| self.packets.get_mut(last)) {
            before.next = Some(at);
        }
    }

    /// The packets whose turn it is.
    pub(super) fn pop(&mut self) -> Option<P> {
        loop {
            let slot = self.turns.first()?;
            let (sender, Sender { left, .. }) = self.senders.at(slot)?;
            if *left > 0 {
                let packet = self.take(sender)?;
                if let Some(sender) = self.senders.get_mut(sender) {
                    // Only what is handed over is of its turn: what is dropped has cost nobody anything.
                    sender.left = sender.left.saturating_sub(packet.cost());
                }
                return Some(packet);
            }
            if let Some(sender) = self.senders.get_mut(sender) {
                sender.left = TURN;
            }
            self.turns.remove(slot);
            self.turns.push(slot);
        }
    }

    /// Drops the oldest packets of whoever has most; gives how many datagrams they were.
    pub(super) fn drop_of_most(&mut self) -> usize {
        let most = self.most.first().and_then(|(sender, _)| self.take(sender));
        most.map_or(0, |packet| packet.datagrams())
    }

    /// Drops what has waited for `age`; gives how many datagrams it was.
    pub(super) fn drop_old(&mut self, age: Duration, now: Instant) -> usize {
        let mut dropped = 0;
        while let Some((_, held)) = self.ages.first().and_then(|slot| self.packets.at(slot))
            && now.saturating_duration_since(held.packet.at()) >= age
            // A sender's first packet is its oldest.
            && let Some(packet) = self.take(held.sender)
        {
            dropped += packet.datagrams();
        }
        dropped
    }

    /// The place of a sender, known or new.
    fn sender(&mut self, key: PublicKey) -> Option<Index> {
        if let Some(&known) = self.by_key.get(&key) {
            return Some(known);
        }
        let sender = Sender { key, first: None, last: None, cost: 0, left: TURN, standing: None };
        let sender = self.senders.insert(sender)?;
        self.by_key.insert(key, sender);
        self.turns.push(sender.slot());
        Some(sender)
    }

    /// A sender's first packet. Who has no more is forgotten.
    fn take(&mut self, index: Index) -> Option<P> {
        let sender = self.senders.get_mut(index)?;
        let first = sender.first?;
        let Held { packet, next, .. } = self.packets.remove(first)?;
        self.ages.remove(first.slot());
        let cost = packet.cost();
        self.cost -= cost;
        sender.cost -= cost;
        sender.first = next;
        self.most.weigh(&mut sender.standing, index, sender.cost);
        if next.is_none() {
            self.by_key.remove(&sender.key);
            self.turns.remove(index.slot());
            self.senders.remove(index);
        }
        Some(packet)
    }

    /// Changes of place among those who have something.
    #[cfg(test)]
    pub(super) const fn moves(&self) -> usize {
        self.most.moves
    }
}
