//! Bytes there and back: what returns must be, byte for byte, what was sent.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a stream may stand still.
const STALL: Duration = Duration::from_secs(20);

/// Echoes every connection, of both address families, for ever.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("::", port)).with_context(|| format!("port {port}"))?;
    for stream in listener.incoming() {
        let stream = stream.context("accepting")?;
        thread::spawn(move || {
            // A client that leaves early is its own business.
            let _ = std::io::copy(&mut &stream, &mut &stream);
            let _ = stream.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

/// Sends `len` bytes to an echo, compares what returns, and returns the time it took.
pub(crate) fn round_trip(to: IpAddr, port: u16, len: usize) -> Result<Duration> {
    let start = Instant::now();
    let address = SocketAddr::new(to, port);
    let stream = TcpStream::connect_timeout(&address, STALL)
        .with_context(|| format!("connecting to {address} through the tunnel"))?;
    stream.set_read_timeout(Some(STALL)).context("setting a timeout")?;
    stream.set_write_timeout(Some(STALL)).context("setting a timeout")?;
    let sent = bytes(len);
    let mut returned = Vec::with_capacity(len);
    thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> std::io::Result<()> {
            (&stream).write_all(&sent)?;
            stream.shutdown(Shutdown::Write)
        });
        let read = (&stream).read_to_end(&mut returned);
        let wrote = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        wrote.with_context(|| format!("sending to {address} through the tunnel"))?;
        read.with_context(|| format!("receiving from {address} through the tunnel"))?;
        Ok(())
    })?;
    if returned != sent {
        let same = sent.iter().zip(&returned).take_while(|(a, b)| a == b).count();
        bail!("{address}: of {len} bytes {} returned, the first {same} right", returned.len());
    }
    Ok(start.elapsed())
}

/// Bytes of a simple generator: no stretch of them is like another, so a swap is seen.
fn bytes(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_echo_returns_is_what_was_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let echo = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            std::io::copy(&mut &stream, &mut &stream).unwrap();
        });
        round_trip("127.0.0.1".parse().unwrap(), port, 300_001).unwrap();
        echo.join().unwrap();
    }
}
