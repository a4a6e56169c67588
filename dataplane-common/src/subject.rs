//! Which flow a packet is about.

use crate::{
    Direction, DropReason, Extent, FRAGMENT_LIFETIME, FlowKey, FragmentKey, Headers, Nanos,
    PacketBytes, Signals, StateTable, Transport, in_own_frame, parse,
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

    /// Reads it from a packet.
    #[inline(always)]
    pub(crate) fn read<B, S>(
        &mut self,
        packet: &B,
        direction: Direction,
        now: Nanos,
        state: &S,
    ) -> Result<(), DropReason>
    where
        B: PacketBytes + ?Sized,
        S: StateTable,
    {
        let mut headers = Headers::unknown();
        let parsed = parse(packet, 0, Extent::Whole, &mut headers);
        self.key = headers.flow_key(direction);
        parsed?;
        self.transport = headers.transport;
        self.signals = headers.signals;
        match headers.transport {
            Transport::Ports => {
                self.first_fragment = headers.fragmented;
                Ok(())
            }
            Transport::Error => self.quoted(packet, &mut headers, direction),
            Transport::LaterFragment => self.first_of(&headers, now, state),
        }
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

    /// A later fragment is about the flow of the first.
    #[inline(always)]
    fn first_of<S: StateTable>(
        &mut self,
        headers: &Headers,
        now: Nanos,
        state: &S,
    ) -> Result<(), DropReason> {
        let found = in_own_frame(|| {
            let first = state.fragment(&headers.fragment_key())?;
            if first.seen.older_than(FRAGMENT_LIFETIME, now) {
                return None;
            }
            self.key = first.flow;
            Some(0)
        });
        found.map(|_| ()).ok_or(DropReason::PolicyFragment)
    }
}

impl Headers {
    /// The key of the flow of a packet that goes this way.
    #[inline(always)]
    pub(crate) fn flow_key(&self, direction: Direction) -> FlowKey {
        let (source, destination) = (self.source_port, self.destination_port);
        let (host, peer, host_port, peer_port) = match direction {
            Direction::In => (self.destination, self.source, destination, source),
            Direction::Out => (self.source, self.destination, source, destination),
        };
        FlowKey::new(self.protocol, (host, host_port), (peer, peer_port))
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
