//! Packets for a peer, to the relays of its home region.

use std::collections::HashMap;
use std::time::Instant;

use proto::relay::Batch;

use super::client::{Client, ClientId};
use super::lanes::Lanes;
use super::plan::{Place, Plan};
use super::port::PeerNumber;

/// What came of packets for a peer.
pub(super) enum Sent {
    /// They left for the peer's relay, by this.
    By(&'static str),
    /// They left by a peer that relays.
    ByPeer,
    /// A connection is missing.
    Missing(ClientId),
    /// Nobody knows where to.
    Nowhere,
}

/// Sends packets to a peer: by the peer that relays, if this is its way, else by regions' relays. One that has
/// just gone costs nothing so, until the way is left.
pub(super) fn send(
    plan: &Plan,
    clients: &mut HashMap<ClientId, Client>,
    lanes: &mut Lanes,
    number: PeerNumber,
    batch: Batch<'_>,
) -> Sent {
    let Some(way) = plan.ways.get(&number) else {
        return send_by_region(plan, clients, lanes, number, batch);
    };
    let to = plan.peers.get(&way.to).and_then(|peer| peer.keys.first());
    let client =
        plan.tickets.first().and_then(|(key, _)| clients.get_mut(&(Place::Peer(way.by), *key)));
    let sent = to.zip(client).is_some_and(|(to, client)| client.send_by_lane(*to, batch, lanes));
    match sent {
        true => Sent::ByPeer,
        false if plan.calls_only(way.to) => Sent::Nowhere,
        false => send_by_region(plan, clients, lanes, way.to, batch),
    }
}

/// Sends packets to a peer's home region, or to where the peer is while that does not serve.
fn send_by_region(
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
        let mut of_region =
            plan.tickets.iter().filter_map(|(key, _)| clients.get(&(Place::Region(region), *key)));
        of_region.next().is_some_and(|client| client.is_down(now))
    };
    let region = Some(home).filter(|home| !is_down(*home)).or_else(|| plan.stand_in(home));
    let region = region.unwrap_or(home);
    for (key, _) in &plan.tickets {
        if let Some(client) = clients.get_mut(&(Place::Region(region), *key))
            && let Some(way) = client.send(to, batch, lanes)
        {
            return Sent::By(way);
        }
    }
    plan.tickets
        .first()
        .map_or(Sent::Nowhere, |(key, _)| Sent::Missing((Place::Region(region), *key)))
}
