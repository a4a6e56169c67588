//! From a frame to what is done with it.

use super::{
    Datagram, Frame, Judged, LaneEntry, Outer, RelayTable, Sender, V4Pair,
    bytes::{part, put},
    frame::{IPV4, IPV6, ether_type, is_intact_v4, place},
    judge,
    rewrite::{
        put_macs, put_v4_addresses, put_v4_header, put_v6_addresses, put_v6_header, rewrite,
        swapped,
    },
};
use crate::{
    DropReason, LaneId, in_own_frame, protocol,
    stun::{self, Request},
};

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give it to the host as it is: it is not the switch's.
    Pass,
    /// Give it to the host as it is, and remember the way back: it is a message about a lane, to one
    /// of the relay's addresses.
    Control(Sender),
    /// Send it back: it has become the answer to a STUN request.
    Answer,
    /// Send it on: it has been rewritten.
    Forward(Forwarded),
    /// Drop it, and count it for this lane, if it was one's.
    Drop(DropReason, Option<LaneId>),
}

/// A packet that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The lane.
    pub id: LaneId,
    /// The UDP payload's length.
    pub length: u32,
    /// The interface by which it leaves; zero for the one by which it came.
    pub egress: u32,
}

/// Switches a frame: rewrites it in place where it goes on.
#[inline(always)]
pub fn switch<F: Frame, T: RelayTable>(frame: &mut F, table: &T) -> Action {
    // Each family's way on its own, so that the compiler knows where everything is.
    let switched = match ether_type(frame) {
        Some(IPV4) => match Outer::parse_v4(frame, table.port()) {
            Some(outer) => switch_ip(frame, &outer, table),
            None => return Action::Pass,
        },
        Some(IPV6) => match Outer::parse_v6(frame, table.port()) {
            Some(outer) => switch_ip(frame, &outer, table),
            None => return Action::Pass,
        },
        _ => return Action::Pass,
    };
    match switched {
        Some(action) => action,
        None => answer(frame, table),
    }
}

/// `None` for a STUN message.
#[inline(always)]
fn switch_ip<F: Frame, T: RelayTable>(frame: &mut F, outer: &Outer, table: &T) -> Option<Action> {
    let first = if outer.v6 {
        frame
            .head::<{ place::PAYLOAD_V6 + 8 }>()
            .map(|head| part(head, place::PAYLOAD_V6))
            .map(u64::from_ne_bytes)
    } else {
        frame
            .head::<{ place::PAYLOAD_V4 + 8 }>()
            .map(|head| part(head, place::PAYLOAD_V4))
            .map(u64::from_ne_bytes)
    };
    let datagram = Datagram {
        first,
        v6: outer.v6,
        pair: outer.pair,
        source: outer.source(),
        local: outer.destination(),
        port: outer.source_port,
        length: outer.payload_length(),
        cost: outer.payload_length(),
        hops: outer.hops,
    };
    Some(match judge(&datagram, table) {
        Judged::Forward(entry) => forward(frame, outer, &entry),
        Judged::Up(_) => Action::Pass,
        Judged::Control if table.is_local(&outer.destination().address()) => {
            Action::Control(Sender::of(outer.source(), outer.source_port()))
        }
        Judged::Control => Action::Pass,
        Judged::Stun => return None,
        // Another host's, or one that this one bridges or routes to: none of ours.
        Judged::Drop(..) if !table.is_local(&outer.destination().address()) => Action::Pass,
        Judged::Drop(reason, lane) => Action::Drop(reason, lane),
    })
}

#[inline(always)]
fn forward<F: Frame, E: LaneEntry>(frame: &mut F, outer: &Outer, entry: &E) -> Action {
    let lane = entry.hot();
    // IPv6 wants the checksum that the sender left out, and only user space sees all it covers. And
    // it has no checksum of the header: what is wrong there would be lost.
    if !outer.v6 && lane.is_to_v6() && (outer.udp_checksum == [0, 0] || !is_intact_v4(frame)) {
        return Action::Pass;
    }
    // Without room for a longer header nothing was changed yet.
    if rewrite(frame, outer, entry).is_none() {
        return Action::Pass;
    }
    let forwarded = Forwarded { id: lane.id, length: outer.payload_length(), egress: lane.egress };
    // All that was read of the entry is read: if it has become another's meanwhile, so may that.
    if !entry.is_still() {
        return Action::Drop(DropReason::LaneUnknown, None);
    }
    Action::Forward(forwarded)
}

// Rare beside data, and large: in a stack frame of its own, where the headers are read once more
// so that the way of data need not keep them in memory.
#[inline(always)]
fn answer<F: Frame, T: RelayTable>(frame: &mut F, table: &T) -> Action {
    const ANSWERED: u64 = 1;
    const LIMITED: u64 = 2;
    let made = in_own_frame(|| {
        let outer = match ether_type(frame)? {
            IPV4 if !is_intact_v4(frame) => return None,
            IPV4 => Outer::parse_v4(frame, table.port())?,
            _ => Outer::parse_v6(frame, table.port())?,
        };
        if !is_unicast(&outer) || !table.is_local(&outer.destination().address()) {
            return None;
        }
        let request = stun::parse(frame, outer.payload(), outer.payload_length())?;
        if !table.take_answer(&outer.source().address())? {
            return Some(LIMITED);
        }
        reply(frame, &outer, &request)?;
        Some(ANSWERED)
    });
    match made {
        Some(ANSWERED) => Action::Answer,
        Some(LIMITED) => Action::Drop(DropReason::StunRate, None),
        _ => Action::Pass,
    }
}

/// Whether the sender can be answered; the host judges what cannot.
#[inline(always)]
fn is_unicast(outer: &Outer) -> bool {
    let [[v6, ..], _] = outer.source().halves();
    let [v4, ..] = outer.source().v4();
    let one_host = if outer.v6 { v6 != 0 && v6 != 0xff } else { !matches!(v4, 0 | 127 | 224..) };
    one_host && outer.source_port() != 0
}

/// Makes the frame the answer to what it was; `None` if there is no room for it.
#[inline(always)]
fn reply<F: Frame>(frame: &mut F, outer: &Outer, request: &Request) -> Option<()> {
    const HOPS: u8 = 64;
    let udp_length = stun::response_length(request, !outer.v6) + 8;
    let wanted = outer.payload() - 8 + u32::from(udp_length);
    let macs = swapped(frame.head::<12>()?);
    if !frame.shorten(i32::try_from(frame.length()).ok()? - i32::try_from(wanted).ok()?) {
        return None;
    }
    if outer.v6 {
        let head: &mut [u8; place::PAYLOAD_V6] = frame.head_mut()?;
        put_macs(head, macs);
        put(head, place::ETHER_TYPE, IPV6.to_be_bytes());
        put_v6_header(head, 0, udp_length, HOPS);
        put_v6_addresses(head, outer.destination(), outer.source());
        put_udp(head, place::UDP_V6, outer, udp_length);
    } else {
        let head: &mut [u8; place::PAYLOAD_V4] = frame.head_mut()?;
        put_macs(head, macs);
        put(head, place::ETHER_TYPE, IPV4.to_be_bytes());
        put_v4_header(head, 0, udp_length, HOPS);
        put_v4_addresses(head, V4Pair::of(outer.destination(), outer.source()));
        put_udp(head, place::UDP_V4, outer, udp_length);
    }
    let payload = outer.payload();
    let source = outer.source().address();
    let whole = stun::write_response(frame, payload, request, &source, outer.source_port())
        && frame.write(payload - 2, udp_checksum(frame, outer, udp_length));
    whole.then_some(())
}

#[inline(always)]
fn put_udp(head: &mut [u8], udp: usize, outer: &Outer, udp_length: u16) {
    put(head, udp, outer.destination_port);
    put(head, udp + 2, outer.source_port);
    put(head, udp + 4, udp_length.to_be_bytes());
    put(head, udp + 6, [0, 0]);
}

/// The checksum of a short datagram whose own is still zero.
#[inline(always)]
fn udp_checksum<F: Frame>(frame: &F, outer: &Outer, udp_length: u16) -> [u8; 2] {
    let mut sum = outer.source().sum().plus(outer.destination().sum());
    sum = sum.number(u16::from(protocol::UDP)).number(udp_length);
    for at in (0..8 + stun::LONGEST_RESPONSE).step_by(4) {
        if at >= u32::from(udp_length) {
            break;
        }
        let Some(word) = frame.read(outer.payload() - 8 + at) else { break };
        sum = sum.word(word);
    }
    sum.udp_checksum()
}
