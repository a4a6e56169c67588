//! From a lane's frame to the one that goes on to its other end.

use super::{
    Frame, HotLane, LaneAddresses, LaneEntry, LaneHeader, Outer, Sum, V4Pair, Words,
    bytes::{part, put},
    frame::{IPV4, IPV6, place},
};
use crate::protocol;

/// Rewrites the headers in place; `None` if the frame has no room for them.
///
/// Lane and frame fit together: [`judge`](super::judge) has seen to it.
#[inline(always)]
pub(super) fn rewrite<F: Frame, E: LaneEntry>(
    frame: &mut F,
    outer: &Outer,
    entry: &E,
) -> Option<()> {
    let lane = entry.hot();
    match (outer.v6, !lane.is_to_v6()) {
        (false, true) => v4_to_v4(frame, outer, lane),
        (true, false) => v6_to_v6(frame, outer, lane, entry.addresses()?),
        (false, false) => v4_to_v6(frame, outer, lane, entry.addresses()?),
        (true, true) => v6_to_v4(frame, outer, lane),
    }
}

#[inline(always)]
fn v4_to_v4<F: Frame>(frame: &mut F, outer: &Outer, lane: &HotLane) -> Option<()> {
    let head: &mut [u8; place::PAYLOAD_V4 + 8] = frame.head_mut()?;
    let macs = macs(head, lane);
    put_macs(head, macs);
    let [a, b] = Sum::mended(part(head, place::IP + 10), lane.ip_delta);
    put(head, place::IP + 8, [outer.hops - 1]);
    put(head, place::IP + 10, [a, b]);
    put(head, place::IP + 12, lane.onward_pair.to_bytes());
    put_udp_and_lane(head, place::UDP_V4, outer, lane);
    Some(())
}

#[inline(always)]
fn v6_to_v6<F: Frame>(
    frame: &mut F,
    outer: &Outer,
    lane: &HotLane,
    addresses: &LaneAddresses,
) -> Option<()> {
    let head: &mut [u8; place::PAYLOAD_V6 + 8] = frame.head_mut()?;
    let macs = macs(head, lane);
    put_macs(head, macs);
    put(head, place::IP + 7, [outer.hops - 1]);
    put_v6_addresses(head, addresses.via, addresses.to);
    put_udp_and_lane(head, place::UDP_V6, outer, lane);
    Some(())
}

#[inline(always)]
fn v4_to_v6<F: Frame>(
    frame: &mut F,
    outer: &Outer,
    lane: &HotLane,
    addresses: &LaneAddresses,
) -> Option<()> {
    let macs = macs(frame.head::<12>()?, lane);
    if !frame.shorten(-20) {
        return None;
    }
    let head: &mut [u8; place::PAYLOAD_V6 + 8] = frame.head_mut()?;
    put_macs(head, macs);
    put(head, place::ETHER_TYPE, IPV6.to_be_bytes());
    put_v6_header(head, outer.traffic_class, outer.udp_length, outer.hops - 1);
    put_v6_addresses(head, addresses.via, addresses.to);
    put(head, place::UDP_V6 + 4, outer.udp_length.to_be_bytes());
    put_udp_and_lane(head, place::UDP_V6, outer, lane);
    Some(())
}

#[inline(always)]
fn v6_to_v4<F: Frame>(frame: &mut F, outer: &Outer, lane: &HotLane) -> Option<()> {
    let macs = macs(frame.head::<12>()?, lane);
    if !frame.shorten(20) {
        return None;
    }
    let head: &mut [u8; place::PAYLOAD_V4 + 8] = frame.head_mut()?;
    put_macs(head, macs);
    put(head, place::ETHER_TYPE, IPV4.to_be_bytes());
    put_v4_header(head, outer.traffic_class, outer.udp_length, outer.hops - 1);
    put_v4_addresses(head, lane.onward_pair);
    put(head, place::UDP_V4 + 4, outer.udp_length.to_be_bytes());
    put_udp_and_lane(head, place::UDP_V4, outer, lane);
    Some(())
}

/// An IPv6 header up to its addresses. It belongs to no flow that routers could tell.
#[inline(always)]
pub(super) fn put_v6_header(head: &mut [u8], traffic_class: u8, udp_length: u16, hops: u8) {
    put(head, place::IP, [0x60 | (traffic_class >> 4), traffic_class << 4, 0, 0]);
    put(head, place::IP + 4, udp_length.to_be_bytes());
    put(head, place::IP + 6, [protocol::UDP, hops]);
}

/// An IPv4 header up to its addresses. What an IPv6 host sends is not to be fragmented on the way,
/// and so needs no identification (RFC 6864).
#[inline(always)]
pub(super) fn put_v4_header(head: &mut [u8], traffic_class: u8, udp_length: u16, hops: u8) {
    const DO_NOT_FRAGMENT: u8 = 0x40;
    put(head, place::IP, [0x45, traffic_class]);
    put(head, place::IP + 2, (udp_length + 20).to_be_bytes());
    put(head, place::IP + 4, [0, 0, DO_NOT_FRAGMENT, 0]);
    put(head, place::IP + 8, [hops, protocol::UDP, 0, 0]);
}

/// The addresses of an IPv4 header whose other fields are there, and its checksum.
#[inline(always)]
pub(super) fn put_v4_addresses(head: &mut [u8], pair: V4Pair) {
    let word = |at| part(head, place::IP + at);
    let pair = pair.to_bytes();
    let sum = Sum::new().word(word(0)).word(word(4)).word(word(8));
    put(head, place::IP + 10, sum.long(u64::from_ne_bytes(pair)).checksum());
    put(head, place::IP + 12, pair);
}

/// The addresses of an IPv6 header.
#[inline(always)]
pub(super) fn put_v6_addresses(head: &mut [u8], source: Words, destination: Words) {
    let [[a, b], [c, d]] = [source.halves(), destination.halves()];
    put(head, place::IP + 8, a);
    put(head, place::IP + 16, b);
    put(head, place::IP + 24, c);
    put(head, place::IP + 32, d);
}

/// Destination and source.
type Macs = [[u8; 6]; 2];

/// Those by which a lane's frame leaves.
#[inline(always)]
fn macs(came: &[u8], lane: &HotLane) -> Macs {
    if lane.egress == 0 { swapped(came) } else { lane.macs }
}

/// Back to where it came from.
#[inline(always)]
pub(super) fn swapped(came: &[u8]) -> Macs {
    [part(came, 6), part(came, 0)]
}

#[inline(always)]
pub(super) fn put_macs(head: &mut [u8], [destination, source]: Macs) {
    put(head, 0, destination);
    put(head, 6, source);
}

/// The UDP header, but for its length, and the lane's behind it.
#[inline(always)]
fn put_udp_and_lane(head: &mut [u8], udp: usize, outer: &Outer, lane: &HotLane) {
    // From the port to which it came.
    put(head, udp, outer.destination_port);
    put(head, udp + 2, lane.to_port);
    let checksum = match u16::from_ne_bytes(outer.udp_checksum) {
        0 => 0,
        _ => match u16::from_ne_bytes(Sum::mended(outer.udp_checksum, lane.udp_delta)) {
            0 => u16::MAX,
            mended => mended,
        },
    };
    put(head, udp + 6, checksum.to_ne_bytes());
    put(head, udp + 8, LaneHeader::data_bytes(lane.onward_id));
}
