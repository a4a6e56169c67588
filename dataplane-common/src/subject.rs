//! Which flow a packet is about.

use crate::{
    Address, Direction, DropReason, Extent, Flow, FlowKey, FragmentKey, Generation, Headers, Nanos,
    PacketBytes, Signals, Traffic, Transport, outcome::Outcome, parse, protocol, words::join,
};

/// What a packet is about.
pub(crate) struct Subject {
    /// The flow: as far as it is known, if the packet cannot be read.
    pub(crate) key: FlowKey,
    /// How the packet is about it.
    pub(crate) transport: Transport,
    /// What the packet does to it.
    pub(crate) signals: Signals,
    /// Whether later fragments will follow the packet.
    pub(crate) first_fragment: bool,
}

impl Subject {
    /// Nothing known yet.
    #[inline(always)]
    pub(crate) fn unknown() -> Self {
        Self {
            key: FlowKey::unknown(),
            transport: Transport::Ports,
            signals: Signals::NONE,
            first_fragment: false,
        }
    }

    /// Reads it from the commonest packets: TCP and UDP behind nothing but an IP header, whole. None
    /// if this may be another.
    #[inline(always)]
    pub(crate) fn glance<B>(packet: &B, direction: Direction) -> Option<Self>
    where
        B: PacketBytes + ?Sized,
    {
        const V4: u8 = 0x45;
        let [first, second, third, source, destination, ports, _] = packet.front()?;
        let [version, ..] = first.to_ne_bytes();
        let (source, destination, protocol, ports, flags) = if version == V4 {
            let [_, _, high, low] = second.to_ne_bytes();
            if u16::from_be_bytes([high, low]) & 0x3fff != 0 {
                return None;
            }
            let [_, protocol, ..] = third.to_ne_bytes();
            let (source, destination) =
                (Address::from_v4_word(source), Address::from_v4_word(destination));
            let flags = if protocol == protocol::TCP { packet.front::<9>()?[8] } else { 0 };
            (source, destination, protocol, ports, flags)
        } else if version >> 4 == 6 {
            let [_, _, protocol, _] = second.to_ne_bytes();
            let [_, _, a, b, c, d, e, f, g, h, ports] = packet.front()?;
            let source = Address::from_words([join(a, b), join(c, d)]);
            let destination = Address::from_words([join(e, f), join(g, h)]);
            if source.is_v4() || destination.is_v4() {
                return None;
            }
            let flags = if protocol == protocol::TCP { packet.front::<14>()?[13] } else { 0 };
            (source, destination, protocol, ports, flags)
        } else {
            return None;
        };
        let signals = match protocol {
            protocol::TCP => Signals::of_tcp(flags.to_ne_bytes()[1]),
            protocol::UDP => Signals::OPEN,
            _ => return None,
        };
        let [a, b, c, d] = ports.to_ne_bytes();
        let source = (source, u16::from_be_bytes([a, b]));
        let destination = (destination, u16::from_be_bytes([c, d]));
        let key = FlowKey::of_packet(direction, protocol, source, destination);
        Some(Self { key, transport: Transport::Ports, signals, first_fragment: false })
    }

    /// Reads it from a packet. A later fragment's ports stay unknown.
    #[inline(always)]
    pub(crate) fn read<B>(&mut self, packet: &B, direction: Direction) -> Result<(), DropReason>
    where
        B: PacketBytes + ?Sized,
    {
        let mut headers = Headers::unknown();
        let parsed = parse(packet, 0, Extent::Whole, &mut headers);
        self.key = headers.flow_key(direction);
        parsed?;
        self.transport = headers.transport;
        self.signals = headers.signals;
        self.first_fragment = headers.fragmented && matches!(headers.transport, Transport::Ports);
        match headers.transport {
            Transport::Ports | Transport::LaterFragment => Ok(()),
            Transport::Error => self.quoted(packet, &mut headers, direction),
        }
    }

    /// How it stands with its flow. A packet that changes nothing of it but the counters is counted,
    /// and the flow decides.
    #[inline(always)]
    pub(crate) fn standing(
        &self,
        flow: &mut Flow,
        answered: bool,
        direction: Direction,
        now: Nanos,
        traffic: Traffic,
        in_force: Generation,
    ) -> Outcome {
        let Self { key, signals, .. } = self;
        let own = matches!(self.transport, Transport::Ports);
        // No rule answers for an error about what was never sent.
        let is_error = matches!(self.transport, Transport::Error);
        if is_error && flow.traffic(direction.reversed()).packets == 0 {
            return Outcome::NO_FLOW;
        }
        let begins_anew = own && flow.ended() && signals.opens();
        if begins_anew || flow.expired(key.protocol(), now) {
            return Outcome::UNSTEADY;
        }
        if !flow.generation.covers(in_force) {
            return Outcome::STALE;
        }
        let answers = !answered && !flow.is_opener(direction);
        if !own || answers || signals.finishes() || signals.resets() {
            return Outcome::UNSTEADY;
        }
        flow.note(direction, *signals, traffic, now);
        Outcome::pass(flow.rule, true)
    }

    /// An ICMP error is about the flow of which it quotes a packet that went the other way. Path MTU
    /// discovery depends on it.
    #[inline(always)]
    fn quoted<B: PacketBytes + ?Sized>(
        &mut self,
        packet: &B,
        headers: &mut Headers,
        direction: Direction,
    ) -> Result<(), DropReason> {
        let unrelated = DropReason::PolicyUnrelatedError;
        let (receiver, quoted) = (headers.destination, headers.quoted);
        // In place: the stack has no room for two.
        *headers = Headers::unknown();
        parse(packet, quoted, Extent::Quoted, headers).map_err(|_| unrelated)?;
        if headers.source != receiver || !matches!(headers.transport, Transport::Ports) {
            return Err(unrelated);
        }
        self.key = headers.flow_key(direction.reversed());
        Ok(())
    }
}

impl Headers {
    /// The key of the flow of a packet that goes this way.
    #[inline(always)]
    pub(crate) fn flow_key(&self, direction: Direction) -> FlowKey {
        let source = (self.source, self.source_port);
        FlowKey::of_packet(
            direction,
            self.protocol,
            source,
            (self.destination, self.destination_port),
        )
    }

    /// The key of the fragmented datagram that this is a part of.
    #[inline(always)]
    pub(crate) fn fragment_key(&self) -> FragmentKey {
        let protocol = if self.source.is_v4() { u32::from(self.protocol) } else { 0 };
        FragmentKey {
            source: self.source,
            destination: self.destination,
            id: self.fragment_id,
            protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    /// Bytes that are nearly a packet of TCP or UDP, of either family.
    fn packet() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop::collection::vec(any::<u8>(), 0..72);
        let first = prop_oneof![Just(0x45), Just(0x46), Just(0x60), Just(0x6f), any::<u8>()];
        let protocol = prop_oneof![Just(6), Just(17), Just(1), Just(132), any::<u8>()];
        let fragment = prop_oneof![3 => Just([0, 0]), 1 => Just([0x40, 0]), 1 => any::<[u8; 2]>()];
        (bytes, first, protocol, fragment).prop_map(|(mut bytes, first, protocol, fragment)| {
            let mut set = |at: usize, byte| {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            };
            set(0, first);
            if first >> 4 == 4 {
                set(6, fragment[0]);
                set(7, fragment[1]);
                set(9, protocol);
            } else {
                set(6, protocol);
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn a_glance_tells_what_reading_tells(packet in packet()) {
            for direction in [Direction::In, Direction::Out] {
                let Some(glanced) = Subject::glance(&packet[..], direction) else { continue };
                let mut read = Subject::unknown();
                prop_assert_eq!(read.read(&packet[..], direction), Ok(()));
                prop_assert_eq!(glanced.key, read.key);
                prop_assert_eq!(glanced.signals, read.signals);
                prop_assert_eq!(glanced.transport, read.transport);
                prop_assert_eq!(glanced.first_fragment, read.first_fragment);
            }
        }
    }
}
