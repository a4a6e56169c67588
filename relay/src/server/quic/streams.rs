//! Reading and writing streams, as far as they go now. What they want sent for it leaves at the end of
//! the round.

use bytes::Bytes;
use quinn_proto::{Connection, ReadError, StreamId, WriteError};

/// How far a stream was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// More may come.
    Open,
    /// That was all.
    Finished,
    /// It was given up.
    Gone,
}

/// The other end takes no more of a stream.
pub(super) struct Stopped;

/// Reads what is there: as much as the stream's window at most.
pub(super) fn read(quic: &mut Connection, id: StreamId, mut take: impl FnMut(&Bytes)) -> Read {
    let mut stream = quic.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return Read::Gone };
    let read = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) => take(&chunk.bytes),
            Ok(None) => break Read::Finished,
            Err(ReadError::Blocked) => break Read::Open,
            Err(ReadError::Reset(_)) => break Read::Gone,
        }
    };
    let _ = chunks.finalize();
    read
}

/// Writes what has room; gives how much that is.
pub(super) fn write(quic: &mut Connection, id: StreamId, bytes: &[u8]) -> Result<usize, Stopped> {
    let mut written = 0;
    while written < bytes.len() {
        match quic.send_stream(id).write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(WriteError::Blocked) => break,
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return Err(Stopped),
        }
    }
    Ok(written)
}
