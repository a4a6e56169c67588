//! Packets for a peer, to the relays of its home region.

use std::collections::HashMap;

use proto::relay::Batch;

use super::client::{Client, ClientId};
use super::lanes::Lanes;
use super::plan::Plan;
use super::port::PeerNumber;

/// What came of packets for a peer.
pub(super) enum Sent {
    /// They left, by this.
    By(&'static str),
    /// A connection is missing.
    Missing(ClientId),
    /// Nobody knows where to.
    Nowhere,
}

/// Sends packets to a peer's home region.
pub(super) fn send(
    plan: &Plan,
    clients: &mut HashMap<ClientId, Client>,
    lanes: &mut Lanes,
    peer: PeerNumber,
    batch: Batch<'_>,
) -> Sent {
    let Some(peer) = plan.peers.get(&peer) else { return Sent::Nowhere };
    let Some((to, region)) = peer.keys.first().copied().zip(peer.home.or(plan.home)) else {
        return Sent::Nowhere;
    };
    for (key, _) in &plan.tickets {
        if let Some(client) = clients.get_mut(&(region, *key))
            && let Some(way) = client.send(to, batch, lanes)
        {
            return Sent::By(way);
        }
    }
    plan.tickets.first().map_or(Sent::Nowhere, |(key, _)| Sent::Missing((region, *key)))
}
