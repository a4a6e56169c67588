//! Packets that are too long for a client's datagrams, each on a stream of its own: one that lost
//! something holds up none.

use std::time::Instant;

use bytes::Bytes;
use proto::relay::{Framing, MAX_FRAME, Refusal, split_frame};
use quinn_proto::{Connection, Dir, StreamId, VarInt};

use super::streams::{Read, Stopped, read, write};
use crate::core::{ClientId, Packet, Queued as _};
use crate::server::datagrams::long_frame;
use crate::server::hub::ToHub;
use crate::server::stream::WRITE;

/// One frame with its length, the longest there is.
const MAX_LONG: usize = 4 + MAX_FRAME;
/// Streams of a client at once. Quinn keeps a place for each from the start, so one who has not sent any
/// may begin with one.
const LONG: u32 = 64;

/// Streams that are not whole yet.
#[derive(Default)]
pub(super) struct Long {
    coming: Vec<Coming>,
    going: Vec<Going>,
}

struct Coming {
    stream: StreamId,
    bytes: Vec<u8>,
}

struct Going {
    stream: Option<StreamId>,
    bytes: Vec<u8>,
    written: usize,
    /// What the hub is told when it has gone.
    cost: usize,
    /// When it is given up.
    until: Instant,
}

impl Long {
    /// Takes streams that a client has opened.
    pub(super) fn accept(&mut self, quic: &mut Connection, id: ClientId, to_hub: &mut Vec<ToHub>) {
        while let Some(stream) = quic.streams().accept(Dir::Uni) {
            if stream.index() == 0 {
                quic.set_max_concurrent_streams(Dir::Uni, VarInt::from_u32(LONG));
            }
            self.coming.push(Coming { stream, bytes: Vec::new() });
            self.read(stream, quic, id, to_hub);
        }
    }

    /// Reads one of them; when it is whole the hub is told.
    pub(super) fn read(
        &mut self,
        stream: StreamId,
        quic: &mut Connection,
        id: ClientId,
        to_hub: &mut Vec<ToHub>,
    ) {
        let Some(at) = self.coming.iter().position(|coming| coming.stream == stream) else {
            return;
        };
        let bytes = &mut self.coming[at].bytes;
        let read = read(quic, stream, |chunk| bytes.extend_from_slice(chunk));
        let told = match read {
            _ if bytes.len() > MAX_LONG => ToHub::Refuse(id, Refusal::Malformed),
            Read::Open => return,
            // The client has given it up.
            Read::Gone => {
                self.coming.swap_remove(at);
                return;
            }
            Read::Finished if is_one_frame(bytes) => {
                ToHub::Frames(id, Bytes::from(std::mem::take(bytes)))
            }
            Read::Finished => ToHub::Refuse(id, Refusal::Malformed),
        };
        self.coming.swap_remove(at);
        to_hub.push(told);
    }

    /// Gives packets that are to leave.
    pub(super) fn give(&mut self, packets: &Packet, now: Instant) {
        let (bytes, cost) = (long_frame(packets), packets.cost());
        self.going.push(Going { stream: None, bytes, written: 0, cost, until: now + WRITE });
    }

    /// Writes what has room; gives the cost of what has gone.
    pub(super) fn write(&mut self, quic: &mut Connection, now: Instant) -> usize {
        let mut gone = 0;
        self.going.retain_mut(|going| {
            let stays = going.write(quic, now);
            gone += if stays { 0 } else { going.cost };
            stays
        });
        gone
    }

    /// When the first is given up.
    pub(super) fn until(&self) -> Option<Instant> {
        self.going.iter().map(|going| going.until).min()
    }
}

impl Going {
    /// Goes on; false if it is over.
    fn write(&mut self, quic: &mut Connection, now: Instant) -> bool {
        self.stream = self.stream.or_else(|| quic.streams().open(Dir::Uni));
        let Some(stream) = self.stream else { return now < self.until };
        match write(quic, stream, &self.bytes[self.written..]) {
            Ok(more) => self.written += more,
            Err(Stopped) => return false,
        }
        if self.written == self.bytes.len() {
            // Ends at once: what is written is still delivered.
            let _ = quic.send_stream(stream).finish();
            return false;
        }
        if now >= self.until {
            let _ = quic.send_stream(stream).reset(VarInt::from_u32(0));
            return false;
        }
        true
    }
}

fn is_one_frame(bytes: &[u8]) -> bool {
    matches!(split_frame(bytes, Framing::Admitted), Ok(Some((_, taken))) if taken == bytes.len())
}
