//! As whom packets are handed to the engine: the peer that they are of, by the way on which they came.

use std::collections::HashMap;

use proto::control::NodeId;
use proto::key::PublicKey;

use super::plan::{Place, Plan, Way};
use super::port::PeerNumber;

/// See the module.
#[derive(Default)]
pub(super) struct Numbers {
    peers: HashMap<PublicKey, PeerNumber>,
    ways: HashMap<(PeerNumber, NodeId), PeerNumber>,
}

impl Numbers {
    pub(super) fn of(plan: &Plan) -> Self {
        let keys = |(number, peer): (&PeerNumber, &super::RelayPeer)| {
            let number = *number;
            peer.keys.iter().map(move |key| (*key, number)).collect::<Vec<_>>()
        };
        let way = |(number, way): (&PeerNumber, &Way)| ((way.to, way.by), *number);
        Self {
            peers: plan.peers.iter().flat_map(keys).collect(),
            ways: plan.ways.iter().map(way).collect(),
        }
    }

    /// The peer, and the number of the way: the peer's own where relays of regions carry it.
    pub(super) fn find(&self, place: Place, from: &PublicKey) -> Option<(PeerNumber, PeerNumber)> {
        let peer = *self.peers.get(from)?;
        let way = match place {
            Place::Region(_) => peer,
            Place::Peer(relay) => *self.ways.get(&(peer, relay))?,
        };
        Some((peer, way))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto::control::RegionId;

    use super::*;
    use crate::mesh::relay::RelayPeer;

    #[test]
    fn a_packet_is_of_the_way_on_which_it_came() {
        let (key, relay) = (PublicKey::from([7; 32]), NodeId([1; 16]));
        let (peer, by) = (PeerNumber(3), PeerNumber(9));
        let plan = Plan {
            peers: BTreeMap::from([(
                peer,
                RelayPeer { keys: vec![key], home: None, calls_only: false },
            )]),
            ways: BTreeMap::from([(by, Way { to: peer, by: relay })]),
            ..Plan::default()
        };
        let numbers = Numbers::of(&plan);
        assert_eq!(numbers.find(Place::Region(RegionId(1)), &key), Some((peer, peer)));
        assert_eq!(numbers.find(Place::Peer(relay), &key), Some((peer, by)));
        // By a node that does not relay for the two, and of nobody that is known.
        assert_eq!(numbers.find(Place::Peer(NodeId([2; 16])), &key), None);
        assert_eq!(numbers.find(Place::Peer(relay), &PublicKey::from([8; 32])), None);
    }
}
