//! What a node says that relays for others.

use std::fmt::Error;

use super::count;
use super::numbers::Numbers;
use crate::mesh::peer_relay::PeerRelayStatus;

pub(super) fn encode(relay: &PeerRelayStatus, numbers: &mut Numbers<'_, '_>) -> Result<(), Error> {
    numbers.gauges([
        ("peer_relay_up", "1 while this node relays for others", u64::from(relay.serves())),
        ("peer_relay_granted", "Nodes that the policy lets it relay for", count(relay.granted)),
        ("peer_relay_clients", "Those of them that are connected", count(relay.clients)),
        ("peer_relay_lanes", "Lanes between them", count(relay.lanes)),
        ("peer_relay_lane_ends_bound", "Ends of lanes that have proven an address", {
            count(relay.bound)
        }),
    ])?;
    numbers.counters([
        ("peer_relay_packets", "Packets relayed by lanes", relay.packets),
        ("peer_relay_bytes", "Their bytes", relay.bytes),
        ("peer_relay_kernel_packets", "Of the packets, those switched by the kernel", {
            relay.kernel_packets
        }),
    ])?;
    let switches = [
        ("xdp", !relay.kernel.is_empty()),
        ("userspace", relay.serves() && relay.kernel.is_empty()),
    ];
    let switches = switches.map(|(by, switches)| (by, switches.into()));
    numbers.gauges_by(("peer_relay_switch", "1 for what switches lanes", "by"), switches)?;
    let help = "Connections of others that were refused, by reason";
    let refused = relay.refused.iter().map(|(reason, count)| (reason.as_str(), *count));
    numbers.counters_by(("peer_relay_refused", help, "reason"), refused)
}
