//! What leaves by QUIC: frames at once, packets as datagrams while there is room for them.

use proto::relay::{Batch, DATA_HEADER_LEN, RelayFrame};
use quinn::{Connection, SendStream};

use crate::core::{ClientId, Delivery, Packet, Queued as _, UNSAID};
use crate::server::datagrams::{Carried, Over, Packets, write_long};
use crate::server::hub::{HubHandle, ToConnection, ToHub};
use crate::server::line::LineReceiver;
use crate::server::stream::{frame_into, write_all};

/// Deliveries taken together.
const TOGETHER: usize = 64;
/// Room for deliveries that a silent client keeps.
const KEPT: usize = 4;

/// The writing half of a connection.
pub(super) struct Writer<'a> {
    connection: &'a Connection,
    id: ClientId,
    hub: &'a HubHandle,
    packets: Packets<'a, Packet>,
    /// What the hub has not been told of yet.
    written: usize,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(connection: &'a Connection, id: ClientId, hub: &'a HubHandle) -> Self {
        Self { connection, id, hub, packets: Packets::new(connection), written: 0 }
    }

    /// Writes what the hub gives until it closes or the connection ends.
    pub(super) async fn run(&mut self, control: &mut SendStream, line: &mut LineReceiver) {
        let mut given = Vec::new();
        loop {
            let over = tokio::select! {
                biased;
                taken = line.receive(&mut given, TOGETHER) => taken == 0,
                sent = self.packets.room() => self.packets.go_on(sent).is_err(),
            };
            if over || self.take(&mut given, control).await.is_err() {
                return;
            }
            given.shrink_to(KEPT);
            self.written += self.packets.written();
            for packet in self.packets.too_long() {
                // Bounded by what the core hands over before it is written.
                let (connection, hub) = (self.connection.clone(), self.hub.clone());
                let written = ToHub::Written(self.id, packet.cost());
                tokio::spawn(write_long(connection, packet, hub, written));
            }
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
                Delivery::Packet(packet) => self.packets.send(packet)?,
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
}

impl Carried for Packet {
    const HEADER: usize = DATA_HEADER_LEN;

    fn packet(&self) -> &Packet {
        self
    }

    fn packet_mut(&mut self) -> &mut Packet {
        self
    }

    fn write(&self, batch: Batch<'_>, bytes: &mut Vec<u8>) {
        RelayFrame::Received(self.from, batch).write(bytes);
    }
}
