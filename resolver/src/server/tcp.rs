//! Queries on connections, one after the other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{LONGEST_QUERY, Said, Shared, Way};

/// Connections at one time; the next wait in the kernel's queue.
const MOST: usize = 64;
/// How long a connection may take for its next query, or to take an answer.
const IDLE: Duration = Duration::from_secs(10);
/// After an error of the listener, which may last.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MOST));
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, source)) if shared.serves(source.ip()) => {
                let shared = Arc::clone(&shared);
                open.spawn(async move {
                    let _place = place;
                    // Whoever goes away in between needs no answer.
                    let _ = converse(stream, &shared).await;
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "accepting connections");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    loop {
        let query = timeout(IDLE, read_message(&mut stream, LONGEST_QUERY)).await??;
        let answer = match shared.judge(&query, Way::Tcp) {
            Said::Nothing => return Ok(()),
            Said::Now(answer) => answer,
            Said::Later(answer) => answer.await,
        };
        timeout(IDLE, write_message(&mut stream, &answer)).await??;
    }
}

/// Reads a message with its length in front.
pub(super) async fn read_message(stream: &mut TcpStream, longest: usize) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > longest {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message with its length in front, at once: some read no more than one segment.
pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut whole = Vec::with_capacity(message.len() + 2);
    whole.extend(length.to_be_bytes());
    whole.extend(message);
    stream.write_all(&whole).await
}
