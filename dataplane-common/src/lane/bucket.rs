//! Who pays for what lanes carry: each client has a bucket for all its lanes, and each network that
//! has a rate one for all its clients.
//!
//! A network's rate is divided. Each client that sends has an equal part of it for sure; what others
//! leave of theirs is given to whoever asks, so a lone sender has all of it.

use core::cell::Cell;

use super::{LaneTable, Rate, take};
use crate::{DropReason, Nanos};

const MILLISECOND: u64 = 1_000_000;
/// How long a client counts as sending.
const EPOCH: u64 = 100 * MILLISECOND;
/// How far a client may be ahead of its part.
const PART: u64 = 50 * MILLISECOND;
/// The network may be this far ahead before nothing is left over for those beyond their part.
const SURPLUS: u64 = 25 * MILLISECOND;
/// How far what passes in any case can bring a network into debt.
const DEBT: u64 = 1_000 * MILLISECOND;
/// What passes at once at any rate, in 2^16 bytes, so that a slow sender can send a batch at all.
const LEAST: u64 = 2;

/// Where a client's bucket is in the tables; zero is nobody's, who pays nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct ClientPlace(pub u32);

/// Where a network's bucket is; zero is none's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct NetworkPlace(pub u32);

/// What a client has used of its rate, and of its part of its network's. Plain data: the kernel's map
/// holds it as bytes. Others may write its words at the same moment: see `take`.
#[derive(Clone, Debug, Default)]
#[repr(C, align(32))]
pub struct ClientBucket {
    price: Cell<u32>,
    burst: Cell<u16>,
    spare: u16,
    network: Cell<NetworkPlace>,
    /// The epoch in which it sent last.
    seen: Cell<u32>,
    spent: Cell<Nanos>,
    part: Cell<Nanos>,
}

/// What a network has used of its rate, and how many of its clients send. Plain data as well.
#[derive(Clone, Debug, Default)]
#[repr(C, align(32))]
pub struct NetworkBucket {
    price: Cell<u32>,
    epoch: Cell<u32>,
    senders: Cell<u32>,
    senders_before: Cell<u32>,
    spent: Cell<Nanos>,
    spare: u64,
}

const _: () = assert!(size_of::<ClientBucket>() == 32 && size_of::<NetworkBucket>() == 32);

impl ClientBucket {
    /// From now on the client may send so fast, as one of this network.
    pub fn allow(&self, rate: Rate, network: NetworkPlace) {
        self.price.set(rate.price);
        self.burst.set(rate.burst);
        self.network.set(network);
    }
}

impl NetworkBucket {
    /// From now on the network may send so fast; of a rate only this matters, not its burst.
    pub fn allow(&self, rate: Rate) {
        self.price.set(rate.price);
    }

    /// Whether this client may send these bytes.
    #[inline(always)]
    fn take(&self, client: &ClientBucket, bytes: u32, now: Nanos) -> bool {
        let senders = self.note_sender(client, now);
        let price = u64::from(self.price.get());
        let cost = (u64::from(bytes) * price) >> 16;
        let least = LEAST * price;
        let part = at_least(PART, least * senders);
        if let Some(until) = take(client.part.get(), cost * senders, part, now) {
            client.part.set(until);
            let earliest = now.0.saturating_sub(at_least(SURPLUS, least));
            let charged = at_least(self.spent.get().0, earliest) + cost;
            self.spent.set(Nanos(if charged > now.0 + DEBT { now.0 + DEBT } else { charged }));
            return true;
        }
        match take(self.spent.get(), cost, at_least(SURPLUS, least), now) {
            Some(until) => {
                self.spent.set(until);
                true
            }
            None => false,
        }
    }

    /// How many send, this one included: one at least, but where another CPU has just begun an epoch.
    #[inline(always)]
    fn note_sender(&self, client: &ClientBucket, now: Nanos) -> u64 {
        let epoch = epoch(now);
        if epoch != self.epoch.get() {
            let follows = epoch == self.epoch.get().wrapping_add(1);
            self.senders_before.set(if follows { self.senders.get() } else { 0 });
            self.epoch.set(epoch);
            self.senders.set(0);
        }
        if client.seen.get() != epoch {
            client.seen.set(epoch);
            self.senders.set(self.senders.get() + 1);
        }
        let (now, before) = (self.senders.get(), self.senders_before.get());
        u64::from(now.max(before))
    }
}

/// Has the client of this place pay for these bytes, if it can. What its network refuses costs it
/// nothing.
#[inline(always)]
pub(super) fn pay<T: LaneTable>(
    table: &T,
    place: ClientPlace,
    bytes: u32,
) -> Result<(), DropReason> {
    let Some(client) = table.client(place) else { return Ok(()) };
    let rate = Rate { price: client.price.get(), burst: client.burst.get() };
    let network = table.network(client.network.get());
    // Then nobody need look at a clock.
    if rate.is_unlimited() && network.is_none() {
        return Ok(());
    }
    let now = table.now();
    let Some(until) = rate.take(client.spent.get(), bytes, now) else {
        return Err(DropReason::LaneRate);
    };
    if let Some(network) = network
        && !network.take(client, bytes, now)
    {
        return Err(DropReason::NetworkRate);
    }
    client.spent.set(until);
    Ok(())
}

const fn at_least(number: u64, least: u64) -> u64 {
    if number < least { least } else { number }
}

/// Never the first, in which nobody has sent.
#[allow(clippy::cast_possible_truncation, reason = "epochs are only compared")]
const fn epoch(now: Nanos) -> u32 {
    (now.0 / EPOCH) as u32 | 1 << 31
}
