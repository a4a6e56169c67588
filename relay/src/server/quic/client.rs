//! A client's connection: what it says goes to the hub, what the hub gives is written.

use std::task::Waker;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use proto::relay::{Batch, DATA_HEADER_LEN, Refusal, RelayFrame};
use quinn_proto::{Connection, Dir, Event, SendDatagramError, StreamEvent, StreamId};

use super::connection::Round;
use super::long::Long;
use super::streams::{Read, read, write};
use crate::core::{ClientId, Delivery, Packet, UNSAID};
use crate::server::admission::{self, Binding};
use crate::server::datagrams::{Carried, Cut, Outlet, Over, Unsent};
use crate::server::hub::{ToConnection, ToHub};
use crate::server::line::LineReceiver;
use crate::server::stream::{Next, WRITE, frame_into, take, whole};

/// Deliveries taken together.
const TOGETHER: usize = 64;

/// See the module.
pub(super) struct Client {
    pub(super) id: ClientId,
    binding: Binding,
    line: LineReceiver,
    waker: Waker,
    /// Whether the line may have something.
    rung: bool,
    pub(super) control: StreamId,
    /// What was read of the stream of control, and is no whole frame yet.
    held: BytesMut,
    /// What comes on it matters no more: it has broken a rule.
    deaf: bool,
    /// Frames that are not written yet, and when the client is given up for it.
    out: Vec<u8>,
    until: Option<Instant>,
    packets: Cut<Packet>,
    long: Long,
    /// What the hub has not been told of yet.
    written: usize,
    /// The hub has closed the line.
    closed: bool,
}

impl Client {
    pub(super) fn new(client: admission::Client, control: StreamId, waker: Waker) -> Self {
        let admission::Client { id, binding, line, rest } = client;
        Self {
            id,
            binding,
            line,
            waker,
            rung: true,
            control,
            held: rest,
            deaf: false,
            out: Vec::new(),
            until: None,
            packets: Cut::new(),
            long: Long::default(),
            written: 0,
            closed: false,
        }
    }

    /// The line may have something.
    pub(super) const fn ring(&mut self) {
        self.rung = true;
    }

    /// When something is given up.
    pub(super) fn until(&self) -> Option<Instant> {
        [self.until, self.long.until()].into_iter().flatten().min()
    }

    /// Takes what has come.
    pub(super) fn heed(
        &mut self,
        event: &Event,
        quic: &mut Connection,
        round: &mut Round<'_>,
    ) -> Result<(), Over> {
        match event {
            Event::DatagramReceived => self.read_datagrams(quic, round),
            Event::Stream(StreamEvent::Readable { id }) if *id == self.control => {
                self.read_control(quic, round)?;
            }
            Event::Stream(StreamEvent::Readable { id }) => {
                self.long.read(*id, quic, self.id, round.to_hub);
            }
            Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                self.long.accept(quic, self.id, round.to_hub);
            }
            _ => {}
        }
        Ok(())
    }

    fn read_datagrams(&self, quic: &mut Connection, round: &mut Round<'_>) {
        let mut datagrams = quic.datagrams();
        let all: Vec<Bytes> = std::iter::from_fn(|| datagrams.recv()).collect();
        if !all.is_empty() {
            round.to_hub.push(ToHub::Datagrams(self.id, all));
        }
    }

    /// Takes what had come before it was a client, of which nothing is said any more.
    pub(super) fn catch_up(
        &mut self,
        quic: &mut Connection,
        round: &mut Round<'_>,
    ) -> Result<(), Over> {
        self.read_datagrams(quic, round);
        self.long.accept(quic, self.id, round.to_hub);
        self.read_control(quic, round)
    }

    /// Reads the stream of control, of which something may be held already.
    fn read_control(&mut self, quic: &mut Connection, round: &mut Round<'_>) -> Result<(), Over> {
        let held = &mut self.held;
        let read = read(quic, self.control, |chunk| held.extend_from_slice(chunk));
        while !self.deaf {
            let (len, next) = whole(&self.held);
            if len > 0 {
                round.to_hub.push(ToHub::Frames(self.id, take(&mut self.held, len)));
            }
            round.to_hub.push(match next {
                Next::Part => break,
                Next::Proof(proof, len) => {
                    drop(take(&mut self.held, len));
                    round.door.renewal(self.id, &self.binding, &proof)
                }
                Next::Malformed => {
                    // The connection ends when the refusal is written.
                    self.deaf = true;
                    ToHub::Refuse(self.id, Refusal::Malformed)
                }
            });
        }
        if self.deaf || self.held.is_empty() {
            self.held = BytesMut::new();
        }
        if read == Read::Open || self.deaf { Ok(()) } else { Err(Over) }
    }

    /// Writes what the hub gives, as far as there is room.
    pub(super) fn write(
        &mut self,
        quic: &mut Connection,
        round: &mut Round<'_>,
    ) -> Result<(), Over> {
        self.write_control(quic, round.now)?;
        self.packets.send(quic)?;
        // What is no packet waits for nothing but its own stream, and what comes behind it for that.
        while self.rung && self.out.is_empty() && !self.closed {
            let taken = self.line.take(round.given, TOGETHER, &self.waker);
            self.rung = taken.is_some();
            self.closed = taken == Some(0);
            for message in round.given.drain(..) {
                match message {
                    ToConnection::Deliver(delivery) => match *delivery {
                        Delivery::Packet(packet) => self.packets.give(packet),
                        Delivery::Control(_) => {
                            frame_into(&delivery, &mut self.out);
                            self.written += delivery.cost();
                        }
                    },
                    ToConnection::Close => self.closed = true,
                }
            }
            // Once for all: where there is no room, each try would cut a datagram in vain.
            self.packets.send(quic)?;
            self.write_control(quic, round.now)?;
        }
        for packets in self.packets.too_long() {
            self.long.give(&packets, round.now);
        }
        self.written += self.packets.written() + self.long.write(quic, round.now);
        if self.written >= UNSAID {
            let written = std::mem::take(&mut self.written);
            round.to_hub.push(ToHub::Written(self.id, written));
        }
        if self.closed && self.out.is_empty() { Err(Over) } else { Ok(()) }
    }

    fn write_control(&mut self, quic: &mut Connection, now: Instant) -> Result<(), Over> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = write(quic, self.control, &self.out).map_err(|_| Over)?;
        if written == self.out.len() {
            (self.out, self.until) = (Vec::new(), None);
            return Ok(());
        }
        self.out.drain(..written);
        let until = *self.until.get_or_insert(now + WRITE);
        if now < until { Ok(()) } else { Err(Over) }
    }
}

impl Outlet for Connection {
    fn longest(&mut self) -> usize {
        self.datagrams().max_size().unwrap_or(0)
    }

    fn take(&mut self, bytes: Bytes) -> Result<(), Unsent> {
        self.datagrams().send(bytes, false).map_err(|error| match error {
            // It says when there is.
            SendDatagramError::Blocked(bytes) => Unsent::Full(bytes),
            SendDatagramError::TooLarge => Unsent::TooLong,
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => Unsent::Over,
        })
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
