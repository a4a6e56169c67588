//! What leaves by QUIC: frames at once, packets as datagrams while quinn has room for them.
//!
//! Packets that find no room wait here and the frames behind them do not. What quinn has taken cannot
//! be dropped nor overtaken any more, so it has little room ([`DATAGRAMS`]).

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use bytes::{Buf as _, Bytes};
use proto::relay::{Batch, DATA_HEADER_LEN, RelayFrame};
use quinn::{Connection, SendDatagramError, SendStream};

use crate::core::{ClientId, Delivery, Packet, Queued as _, UNSAID};
use crate::server::hub::{HubHandle, ToConnection, ToHub};
use crate::server::line::LineReceiver;
use crate::server::stream::{frame_into, write_all};

/// Room for datagrams that quinn has not sent yet: a slow path's worth.
pub(super) const DATAGRAMS: usize = 32 << 10;
/// What a datagram takes there beside its bytes, at most.
const DATAGRAM_COST: usize = 64;
/// Deliveries taken together.
const TOGETHER: usize = 64;
/// Room for deliveries that a silent client keeps.
const KEPT: usize = 4;

/// The writing half of a connection.
pub(super) struct Writer<'a> {
    connection: &'a Connection,
    id: ClientId,
    hub: &'a HubHandle,
    /// The longest datagram, and the room for them, as quinn said last: asking takes its lock.
    limit: usize,
    room: usize,
    blocked: Option<Box<Blocked>>,
    /// What the hub has not been told of yet.
    written: usize,
}

/// Packets that wait for room.
struct Blocked {
    /// A datagram of the first of them, on its way.
    sending: Pin<Box<dyn Future<Output = Result<(), SendDatagramError>> + Send>>,
    /// Its payload.
    len: usize,
    packets: VecDeque<Packet>,
}

/// The connection is over.
struct Over;

impl<'a> Writer<'a> {
    pub(super) const fn new(connection: &'a Connection, id: ClientId, hub: &'a HubHandle) -> Self {
        Self { connection, id, hub, limit: 0, room: 0, blocked: None, written: 0 }
    }

    /// Writes what the hub gives until it closes or the connection ends.
    pub(super) async fn run(&mut self, control: &mut SendStream, line: &mut LineReceiver) {
        let mut given = Vec::new();
        loop {
            let over = match &mut self.blocked {
                None => line.receive(&mut given, TOGETHER).await == 0,
                Some(blocked) => tokio::select! {
                    biased;
                    taken = line.receive(&mut given, TOGETHER) => taken == 0,
                    sent = &mut blocked.sending => self.go_on(sent).is_err(),
                },
            };
            if over || self.take(&mut given, control).await.is_err() {
                return;
            }
            given.shrink_to(KEPT);
            if self.written >= UNSAID {
                let written = std::mem::take(&mut self.written);
                if self.hub.tell(ToHub::Written(self.id, written)).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn take(
        &mut self,
        given: &mut Vec<ToConnection>,
        control: &mut SendStream,
    ) -> Result<(), Over> {
        for message in given.drain(..) {
            let ToConnection::Deliver(delivery) = message else { return Err(Over) };
            match *delivery {
                Delivery::Packet(packet) => match &mut self.blocked {
                    Some(blocked) => blocked.packets.push_back(packet),
                    None => self.send(packet)?,
                },
                Delivery::Control(_) => {
                    let mut bytes = Vec::new();
                    frame_into(&delivery, &mut bytes);
                    // Boxed, so that a silent client keeps no room for it.
                    if !Box::pin(write_all(control, &bytes)).await {
                        return Err(Over);
                    }
                    self.written += delivery.cost();
                }
            }
        }
        Ok(())
    }

    /// Goes on with packets that waited, once the first datagram has its room.
    fn go_on(&mut self, sent: Result<(), SendDatagramError>) -> Result<(), Over> {
        let Some(blocked) = self.blocked.take() else { return Ok(()) };
        let Blocked { len, mut packets, .. } = *blocked;
        // It has taken its room since that was asked.
        self.room = 0;
        let Some(mut first) = packets.pop_front() else { return Ok(()) };
        match sent {
            Ok(()) => self.count(&mut first, len),
            // Cut anew.
            Err(SendDatagramError::TooLarge) => self.limit = 0,
            Err(_) => return Err(Over),
        }
        self.send(first)?;
        while self.blocked.is_none()
            && let Some(packet) = packets.pop_front()
        {
            self.send(packet)?;
        }
        if let Some(blocked) = &mut self.blocked {
            blocked.packets.append(&mut packets);
        }
        Ok(())
    }

    /// Sends packets, as many in each datagram as fit; what finds no room waits.
    fn send(&mut self, mut packet: Packet) -> Result<(), Over> {
        while let Some((bytes, len)) = self.datagram(&packet) {
            if !self.has_room(bytes.len()) {
                let connection = self.connection.clone();
                let sending = Box::pin(async move { connection.send_datagram_wait(bytes).await });
                self.blocked = Some(Box::new(Blocked { sending, len, packets: [packet].into() }));
                return Ok(());
            }
            self.room -= bytes.len() + DATAGRAM_COST;
            match self.connection.send_datagram(bytes) {
                Ok(()) => self.count(&mut packet, len),
                // The path has become narrower since quinn was asked.
                Err(SendDatagramError::TooLarge) => {
                    self.ask();
                    if self.limit >= DATA_HEADER_LEN + len {
                        break;
                    }
                }
                Err(_) => return Err(Over),
            }
        }
        if packet.payload.is_empty() {
            self.written += packet.cost();
        } else {
            // Bounded by what the core hands over before it is written.
            let (connection, hub) = (self.connection.clone(), self.hub.clone());
            tokio::spawn(write_long(connection, Delivery::Packet(packet), self.id, hub));
        }
        Ok(())
    }

    /// The next datagram of packets, and how much of them it is; none if nothing is left or does not
    /// fit a datagram.
    fn datagram(&mut self, packet: &Packet) -> Option<(Bytes, usize)> {
        let segment = packet.segment.into();
        let batch = Batch::new(&packet.payload, segment)?;
        if self.limit < DATA_HEADER_LEN + segment {
            self.ask();
        }
        let first = batch.within(self.limit.checked_sub(DATA_HEADER_LEN)?)?.next()?;
        let mut bytes = Vec::with_capacity(DATA_HEADER_LEN + first.bytes().len());
        RelayFrame::Received(packet.from, first).write(&mut bytes);
        Some((bytes.into(), first.bytes().len()))
    }

    fn has_room(&mut self, len: usize) -> bool {
        // Quinn only makes more of it meanwhile.
        if self.room < len + DATAGRAM_COST {
            self.ask();
        }
        self.room >= len + DATAGRAM_COST
    }

    fn ask(&mut self) {
        self.limit = self.connection.max_datagram_size().unwrap_or(0);
        self.room = self.connection.datagram_send_buffer_space();
    }

    /// So much of packets is written.
    fn count(&mut self, packet: &mut Packet, len: usize) {
        packet.payload.advance(len);
        // The last datagram may be shorter.
        let left = u16::try_from(packet.payload.len()).unwrap_or(u16::MAX);
        packet.segment = packet.segment.min(left);
        self.written += len;
    }
}

/// Writes packets that are too long for datagrams to a stream of their own, which waits for nobody.
async fn write_long(connection: Connection, delivery: Delivery, id: ClientId, hub: HubHandle) {
    let mut bytes = Vec::new();
    frame_into(&delivery, &mut bytes);
    if let Ok(mut stream) = connection.open_uni().await
        && write_all(&mut stream, &bytes).await
    {
        // Ends at once: what is written is still delivered.
        let _ = stream.finish();
    }
    // A hub that has ended counts no more.
    let _ = hub.tell(ToHub::Written(id, delivery.cost())).await;
}
