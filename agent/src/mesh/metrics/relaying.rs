//! What a node says that relays for others.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::count;
use crate::mesh::peer_relay::PeerRelayStatus;

pub(super) fn encode(
    relay: &PeerRelayStatus,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    for (name, help, value) in [
        ("peer_relay_up", "1 while this node relays for others", u64::from(relay.serves())),
        ("peer_relay_granted", "Nodes that the policy lets it relay for", count(relay.granted)),
        ("peer_relay_clients", "Those of them that are connected", count(relay.clients)),
        ("peer_relay_lanes", "Lanes between them", count(relay.lanes)),
        ("peer_relay_lane_ends_bound", "Ends of lanes that have proven an address", {
            count(relay.bound)
        }),
    ] {
        gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    for (name, help, value) in [
        ("peer_relay_packets", "Packets relayed by lanes", relay.packets),
        ("peer_relay_bytes", "Their bytes", relay.bytes),
        ("peer_relay_kernel_packets", "Of the packets, those switched by the kernel", {
            relay.kernel_packets
        }),
    ] {
        let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(family)?;
    }
    let help = "1 for what switches lanes";
    let mut family =
        encoder.encode_descriptor("peer_relay_switch", help, None, MetricType::Gauge)?;
    for (by, switches) in [
        ("xdp", !relay.kernel.is_empty()),
        ("userspace", relay.serves() && relay.kernel.is_empty()),
    ] {
        gauge(switches.into()).encode(family.encode_family(&[("by", by)])?)?;
    }
    let help = "Connections of others that were refused, by reason";
    let mut family =
        encoder.encode_descriptor("peer_relay_refused", help, None, MetricType::Counter)?;
    for (reason, count) in &relay.refused {
        ConstCounter::new(*count).encode(family.encode_family(&[("reason", reason.as_str())])?)?;
    }
    Ok(())
}
