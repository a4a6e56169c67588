//! A client's byte stream, both ways: frames with their lengths, over TLS or a QUIC stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto::relay::{
    Batch, ClientFrame, Framing, Proof, Refusal, RelayFrame, finish_frame, split_frame, start_frame,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::admission::{Binding, Door};
use super::hub::ToHub;
use crate::core::{ClientId, Delivery};

/// What one read may bring of one who says little, and of one who says much.
const READ: std::ops::RangeInclusive<usize> = 64..=128 << 10;
/// How long a write may take: a client that takes nothing so long is gone.
pub(super) const WRITE: Duration = Duration::from_secs(15);

/// Hands frames to the hub until the stream ends.
pub(super) async fn read_frames(
    reader: &mut (impl AsyncRead + Unpin),
    mut held: BytesMut,
    id: ClientId,
    binding: &Binding,
    door: &Door,
) {
    let mut size = *READ.start();
    loop {
        let (whole, next) = whole(&held);
        if whole > 0 {
            let frames = take(&mut held, whole);
            if door.hub.tell(ToHub::Frames(id, frames)).await.is_err() {
                return;
            }
        }
        if !matches!(next, Next::Part) {
            // Boxed, so that a silent client keeps no room for it.
            if !Box::pin(heed(next, &mut held, id, binding, door)).await {
                return;
            }
            continue;
        }
        if held.is_empty() && held.capacity() > 2 * size {
            held = BytesMut::new();
        }
        held.reserve(size);
        let room = held.capacity() - held.len();
        match reader.read_buf(&mut held).await {
            Ok(0) | Err(_) => return,
            // A silent client keeps little, a busy one is read in large pieces.
            Ok(read) if read >= room => size = (size * 4).min(*READ.end()),
            Ok(read) if read < size / 4 => size = (size / 2).max(*READ.start()),
            Ok(_) => {}
        }
    }
}

/// What follows the frames that are the hub's.
pub(super) enum Next {
    /// A part of one, or nothing.
    Part,
    /// A frame of so many bytes with a new ticket.
    Proof(Box<Proof>, usize),
    Malformed,
}

/// How many bytes at the front are whole frames for the hub, and what follows.
pub(super) fn whole(held: &[u8]) -> (usize, Next) {
    let mut whole = 0;
    loop {
        match split_frame(&held[whole..], Framing::Admitted) {
            Ok(Some((frame, taken))) => match ClientFrame::parse(frame) {
                Ok(ClientFrame::Proof(proof)) => return (whole, Next::Proof(proof, taken)),
                _ => whole += taken,
            },
            Ok(None) => return (whole, Next::Part),
            Err(_) => return (whole, Next::Malformed),
        }
    }
}

/// Does what is not the hub's to do; false if the stream is over.
async fn heed(
    next: Next,
    held: &mut BytesMut,
    id: ClientId,
    binding: &Binding,
    door: &Door,
) -> bool {
    match next {
        Next::Part => true,
        Next::Proof(proof, len) => {
            drop(take(held, len));
            // Judged here: it takes longer than the hub has.
            door.hub.tell(door.renewal(id, binding, &proof)).await.is_ok()
        }
        Next::Malformed => {
            if door.hub.tell(ToHub::Refuse(id, Refusal::Malformed)).await.is_ok() {
                // The connection ends when the refusal is written.
                std::future::pending::<()>().await;
            }
            false
        }
    }
}

/// Takes the first bytes, in memory that is at most a third larger than they: packets among them may
/// wait for long. What stays begins its memory, so that its capacity is the whole of it.
pub(super) fn take(held: &mut BytesMut, len: usize) -> Bytes {
    if held.capacity() > len + len / 3 {
        let taken = Bytes::copy_from_slice(&held[..len]);
        // The memory is used again.
        held.copy_within(len.., 0);
        held.truncate(held.len() - len);
        return taken;
    }
    let rest = BytesMut::from(&held[len..]);
    let mut taken = std::mem::replace(held, rest);
    taken.truncate(len);
    taken.freeze()
}

/// Appends a frame with its length.
pub(super) fn framed_into(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = start_frame(bytes);
    write(bytes);
    finish_frame(bytes, start);
}

/// Appends a delivery as a frame with its length.
pub(super) fn frame_into(delivery: &Delivery, bytes: &mut Vec<u8>) {
    framed_into(bytes, |bytes| match delivery {
        Delivery::Control(frame) => frame.write(bytes),
        Delivery::Packet(packet) => {
            if let Some(batch) = Batch::new(&packet.payload, packet.segment.into()) {
                RelayFrame::Received(packet.from, batch).write(bytes);
            }
        }
    });
}

/// Writes all, in time; false if the stream is over.
pub(super) async fn write_all(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    let write = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    matches!(timeout(WRITE, write).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_taken_holds_little_else(
            room in 0..4000_usize,
            steps in proptest::collection::vec((0..2000_usize, 0..100_usize), 0..20),
        ) {
            let (mut held, mut next) = (BytesMut::with_capacity(room), 0_u32);
            let mut wanted = Vec::new();
            for (come, percent) in steps {
                for _ in 0..come {
                    let byte = next.to_le_bytes()[0];
                    held.extend([byte]);
                    wanted.push(byte);
                    next += 1;
                }
                let len = held.len() * percent / 100;
                if len == 0 {
                    continue;
                }
                let taken = take(&mut held, len);
                prop_assert_eq!(&taken[..], wanted.drain(..len).collect::<Vec<_>>());
                prop_assert_eq!(&held[..], &wanted[..]);
                // Only this owns its memory, from its first byte on: the capacity is all of it.
                let taken = taken.try_into_mut().expect("nobody else holds it");
                prop_assert!(taken.capacity() <= len + len / 3);
            }
        }
    }
}
