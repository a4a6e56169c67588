//! Packets leave as datagrams while quinn has room for them.
//!
//! Packets that find no room wait here, and the frames behind them do not. What quinn has taken cannot
//! be dropped nor overtaken any more, so it is to have little room.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::mem;
use std::pin::Pin;

use bytes::{Buf as _, Bytes};
use proto::relay::Batch;
use quinn::{Connection, SendDatagramError};

use crate::core::{Packet, Queued};
use crate::server::hub::{HubHandle, ToHub};
use crate::server::stream::{framed_into, write_all};

/// What a datagram takes of quinn's room beside its bytes, at most.
const DATAGRAM_COST: usize = 64;

/// Packets, and how they are written.
pub(in crate::server) trait Carried: Queued + Send + 'static {
    /// What comes before them, in bytes.
    const HEADER: usize;
    fn packet(&self) -> &Packet;
    fn packet_mut(&mut self) -> &mut Packet;
    /// Appends some of them as a frame.
    fn write(&self, batch: Batch<'_>, bytes: &mut Vec<u8>);
}

/// What leaves as datagrams of a connection.
pub(in crate::server) struct Packets<'a, P> {
    connection: &'a Connection,
    /// The longest datagram, and the room for them, as quinn said last: asking takes its lock.
    limit: usize,
    room: usize,
    blocked: Option<Box<Blocked<P>>>,
    /// What does not fit datagrams of the path.
    too_long: Vec<P>,
    /// What was written, at its cost.
    written: usize,
}

/// Packets that wait for room.
struct Blocked<P> {
    /// A datagram of the first of them, on its way.
    sending: Pin<Box<dyn Future<Output = Result<(), SendDatagramError>> + Send>>,
    /// Its payload.
    len: usize,
    waiting: VecDeque<P>,
}

/// The connection is over.
pub(in crate::server) struct Over;

impl<'a, P: Carried> Packets<'a, P> {
    pub(in crate::server) const fn new(connection: &'a Connection) -> Self {
        Self { connection, limit: 0, room: 0, blocked: None, too_long: Vec::new(), written: 0 }
    }

    /// What was written since the last call.
    pub(in crate::server) const fn written(&mut self) -> usize {
        mem::replace(&mut self.written, 0)
    }

    /// What has to go by streams, since the last call.
    pub(in crate::server) fn too_long(&mut self) -> Vec<P> {
        mem::take(&mut self.too_long)
    }

    /// Sends packets, behind those that wait.
    pub(in crate::server) fn send(&mut self, packets: P) -> Result<(), Over> {
        match &mut self.blocked {
            Some(blocked) => blocked.waiting.push_back(packets),
            None => self.cut(packets)?,
        }
        Ok(())
    }

    /// Sends a datagram ahead of all packets. If it is lost, it is missed like any other; who waits for
    /// the connection hears if that is over.
    pub(in crate::server) fn ahead(&mut self, bytes: Vec<u8>) {
        let _ = self.connection.send_datagram(bytes.into());
        self.room = 0;
    }

    /// Waits until packets that wait have room, for ever if none do. To be [gone on](Self::go_on) with.
    pub(in crate::server) async fn room(&mut self) -> Result<(), SendDatagramError> {
        match &mut self.blocked {
            Some(blocked) => (&mut blocked.sending).await,
            None => pending().await,
        }
    }

    /// Goes on with packets that waited, once the first datagram has its room.
    pub(in crate::server) fn go_on(
        &mut self,
        sent: Result<(), SendDatagramError>,
    ) -> Result<(), Over> {
        let Some(blocked) = self.blocked.take() else { return Ok(()) };
        let Blocked { len, mut waiting, .. } = *blocked;
        // It has taken its room since that was asked.
        self.room = 0;
        let Some(mut first) = waiting.pop_front() else { return Ok(()) };
        match sent {
            Ok(()) => self.count(first.packet_mut(), len),
            // Cut anew.
            Err(SendDatagramError::TooLarge) => self.limit = 0,
            Err(_) => return Err(Over),
        }
        self.cut(first)?;
        while self.blocked.is_none()
            && let Some(packets) = waiting.pop_front()
        {
            self.cut(packets)?;
        }
        if let Some(blocked) = &mut self.blocked {
            blocked.waiting.append(&mut waiting);
        }
        Ok(())
    }

    /// Sends packets, as many in each datagram as fit; what finds no room waits.
    fn cut(&mut self, mut packets: P) -> Result<(), Over> {
        while let Some((bytes, len)) = self.datagram(&packets) {
            if !self.has_room(bytes.len()) {
                let connection = self.connection.clone();
                let sending = Box::pin(async move { connection.send_datagram_wait(bytes).await });
                self.blocked = Some(Box::new(Blocked { sending, len, waiting: [packets].into() }));
                return Ok(());
            }
            self.room -= bytes.len() + DATAGRAM_COST;
            match self.connection.send_datagram(bytes) {
                Ok(()) => self.count(packets.packet_mut(), len),
                // The path has become narrower since quinn was asked.
                Err(SendDatagramError::TooLarge) => {
                    self.ask();
                    if self.limit >= P::HEADER + len {
                        break;
                    }
                }
                Err(_) => return Err(Over),
            }
        }
        if packets.packet().payload.is_empty() {
            self.written += packets.cost();
        } else {
            self.too_long.push(packets);
        }
        Ok(())
    }

    /// The next datagram of packets, and how much of them it is; none if nothing is left or does not
    /// fit a datagram.
    fn datagram(&mut self, packets: &P) -> Option<(Bytes, usize)> {
        let packet = packets.packet();
        let segment = packet.segment.into();
        let batch = Batch::new(&packet.payload, segment)?;
        if self.limit < P::HEADER + segment {
            self.ask();
        }
        let first = batch.within(self.limit.checked_sub(P::HEADER)?)?.next()?;
        let len = first.bytes().len();
        let mut bytes = Vec::with_capacity(P::HEADER + len);
        packets.write(first, &mut bytes);
        Some((bytes.into(), len))
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

/// Writes packets that are too long for datagrams to a stream of their own, which waits for nobody, and
/// tells the hub.
pub(in crate::server) async fn write_long<P: Carried>(
    connection: Connection,
    packets: P,
    hub: HubHandle,
    written: ToHub,
) {
    let mut bytes = Vec::new();
    framed_into(&mut bytes, |bytes| {
        let packet = packets.packet();
        if let Some(batch) = Batch::new(&packet.payload, packet.segment.into()) {
            packets.write(batch, bytes);
        }
    });
    if let Ok(mut stream) = connection.open_uni().await
        && write_all(&mut stream, &bytes).await
    {
        // Ends at once: what is written is still delivered.
        let _ = stream.finish();
    }
    // A hub that has ended counts no more.
    let _ = hub.tell(written).await;
}
