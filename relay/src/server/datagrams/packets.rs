//! Packets leave as datagrams of a connection of quinn, which waits for room by itself.

use std::future::{Future, pending};
use std::pin::Pin;

use bytes::Bytes;
use quinn::{Connection, SendDatagramError};

use super::cut::{Carried, Cut, Outlet, Over, Unsent, Waits};
use super::long_frame;
use crate::server::hub::{HubHandle, ToHub};
use crate::server::stream::write_all;

/// What a datagram takes of quinn's room beside its bytes, at most.
const DATAGRAM_COST: usize = 64;

/// What leaves as datagrams of a connection.
pub(in crate::server) struct Packets<'a, P> {
    outlet: Quinn<'a>,
    cut: Cut<P>,
    /// The first of those that wait, on its way, and how much of the packets it is.
    blocked: Option<(Sending, usize)>,
}

type Sending = Pin<Box<dyn Future<Output = Result<(), SendDatagramError>> + Send>>;

struct Quinn<'a> {
    connection: &'a Connection,
    /// The room for datagrams, as quinn said last: asking takes its lock.
    room: usize,
}

impl<'a, P: Carried> Packets<'a, P> {
    pub(in crate::server) const fn new(connection: &'a Connection) -> Self {
        Self { outlet: Quinn { connection, room: 0 }, cut: Cut::new(), blocked: None }
    }

    /// What was written since the last call.
    pub(in crate::server) const fn written(&mut self) -> usize {
        self.cut.written()
    }

    /// What has to go by streams, since the last call.
    pub(in crate::server) fn too_long(&mut self) -> Vec<P> {
        self.cut.too_long()
    }

    /// Sends packets, behind those that wait.
    pub(in crate::server) fn send(&mut self, packets: P) -> Result<(), Over> {
        self.cut.give(packets);
        if self.blocked.is_some() { Ok(()) } else { self.fill() }
    }

    /// Sends a datagram ahead of all packets. If it is lost, it is missed like any other; who waits for
    /// the connection hears if that is over.
    pub(in crate::server) fn ahead(&mut self, bytes: Vec<u8>) {
        let _ = self.outlet.connection.send_datagram(bytes.into());
        self.outlet.room = 0;
    }

    /// Waits until packets that wait have room, for ever if none do. To be [gone on](Self::go_on) with.
    pub(in crate::server) async fn room(&mut self) -> Result<(), SendDatagramError> {
        match &mut self.blocked {
            Some((sending, _)) => sending.await,
            None => pending().await,
        }
    }

    /// Goes on with packets that waited, once the first datagram has its room.
    pub(in crate::server) fn go_on(
        &mut self,
        sent: Result<(), SendDatagramError>,
    ) -> Result<(), Over> {
        let Some((_, len)) = self.blocked.take() else { return Ok(()) };
        // It has taken its room since that was asked.
        self.outlet.room = 0;
        match sent {
            Ok(()) => self.cut.sent(len),
            Err(SendDatagramError::TooLarge) => self.cut.narrower(),
            Err(_) => return Err(Over),
        }
        self.fill()
    }

    fn fill(&mut self) -> Result<(), Over> {
        if let Some(Waits { bytes, len }) = self.cut.send(&mut self.outlet)? {
            let connection = self.outlet.connection.clone();
            let sending = Box::pin(async move { connection.send_datagram_wait(bytes).await });
            self.blocked = Some((sending, len));
        }
        Ok(())
    }
}

impl Outlet for Quinn<'_> {
    fn longest(&mut self) -> usize {
        self.connection.max_datagram_size().unwrap_or(0)
    }

    fn take(&mut self, bytes: Bytes) -> Result<(), Unsent> {
        let cost = bytes.len() + DATAGRAM_COST;
        // Quinn only makes more of it meanwhile.
        if self.room < cost {
            self.room = self.connection.datagram_send_buffer_space();
        }
        if self.room < cost {
            return Err(Unsent::Full(bytes));
        }
        self.room -= cost;
        self.connection.send_datagram(bytes).map_err(|error| match error {
            SendDatagramError::TooLarge => Unsent::TooLong,
            _ => Unsent::Over,
        })
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
    let bytes = long_frame(&packets);
    if let Ok(mut stream) = connection.open_uni().await
        && write_all(&mut stream, &bytes).await
    {
        // Ends at once: what is written is still delivered.
        let _ = stream.finish();
    }
    // A hub that has ended counts no more.
    let _ = hub.tell(written).await;
}
