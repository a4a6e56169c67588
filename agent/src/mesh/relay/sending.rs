//! Packets for a peer, to the relays of its home region.

use std::collections::HashMap;
use std::time::Instant;

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

/// Sends packets to a peer's home region, or to where the peer is while that does not serve.
pub(super) fn send(
    plan: &Plan,
    clients: &mut HashMap<ClientId, Client>,
    lanes: &mut Lanes,
    peer: PeerNumber,
    batch: Batch<'_>,
) -> Sent {
    let Some(peer) = plan.peers.get(&peer) else { return Sent::Nowhere };
    let Some((to, home)) = peer.keys.first().copied().zip(peer.home.or(plan.home)) else {
        return Sent::Nowhere;
    };
    let now = Instant::now();
    let is_down = |region| {
        let mut of_region = plan.tickets.iter().filter_map(|(key, _)| clients.get(&(region, *key)));
        of_region.next().is_some_and(|client| client.is_down(now))
    };
    let region = Some(home).filter(|home| !is_down(*home)).or_else(|| plan.stand_in(home));
    let region = region.unwrap_or(home);
    for (key, _) in &plan.tickets {
        if let Some(client) = clients.get_mut(&(region, *key))
            && let Some(way) = client.send(to, batch, lanes)
        {
            return Sent::By(way);
        }
    }
    plan.tickets.first().map_or(Sent::Nowhere, |(key, _)| Sent::Missing((region, *key)))
}
