//! How long nothing arrived.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netns_tests::{Host, udp_socket};

use super::relays::PATIENCE;

const CHUNK: usize = 8 << 10;
const PACE: Duration = Duration::from_millis(2);

/// A TCP connection that sends steadily, and is watched.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<(u64, Duration)>>,
}

impl Stream {
    pub(crate) fn start(from: &Host, to: &Host, address: &str) -> Result<Self> {
        let address: SocketAddr = address.parse()?;
        let listener = to.enter(|| TcpListener::bind(address))??;
        let mut stream =
            from.enter(|| TcpStream::connect_timeout(&address, PATIENCE))?.context("connecting")?;
        let (mut accepted, _) = listener.accept()?;
        for stream in [&stream, &accepted] {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let sender = std::thread::spawn(move || {
            let (chunk, mut sent) = (vec![7; CHUNK], 0);
            while !stopped.load(Ordering::Relaxed) {
                stream.write_all(&chunk).context("sending: the connection is gone")?;
                sent += CHUNK as u64;
                std::thread::sleep(PACE);
            }
            Ok(sent)
        });
        let receiver = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            let (mut received, mut gap, mut last) = (0, Duration::ZERO, Instant::now());
            loop {
                let len =
                    accepted.read(&mut buffer).context("receiving: the connection is gone")?;
                if len == 0 {
                    return Ok((received, gap));
                }
                gap = gap.max(last.elapsed());
                last = Instant::now();
                received += len as u64;
            }
        });
        Ok(Self { stop, sender, receiver })
    }

    /// Ends it; gives how many bytes arrived, which are all, and the longest time without any.
    pub(crate) fn finish(self) -> Result<(u64, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        let received =
            self.receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?;
        let (received, gap) = received?;
        ensure!(received == sent, "{received} of {sent} bytes arrived");
        Ok((received, gap))
    }
}

/// Numbered datagrams at a steady pace, and when each arrived.
pub(crate) struct Datagrams {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<(u32, Duration)>>,
    receiver: JoinHandle<(u32, Duration)>,
}

impl Datagrams {
    pub(crate) fn start(from: &Host, to: &Host, address: &str) -> Result<Self> {
        let receiver = udp_socket(to, address.parse()?)?;
        receiver.set_read_timeout(Some(Duration::from_secs(1)))?;
        let destination = receiver.local_addr()?;
        let socket = udp_socket(from, "0.0.0.0:0".parse()?)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let sender = std::thread::spawn(move || {
            let (mut sent, mut pause, mut last) = (0_u32, Duration::ZERO, Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                socket.send_to(&sent.to_be_bytes(), destination)?;
                pause = pause.max(last.elapsed());
                last = Instant::now();
                sent += 1;
                std::thread::sleep(PACE);
            }
            Ok((sent, pause))
        });
        let receiver = std::thread::spawn(move || {
            let (mut arrived, mut gap, mut last) = (0, Duration::ZERO, None::<Instant>);
            let mut datagram = [0; 4];
            while receiver.recv(&mut datagram).is_ok() {
                gap = gap.max(last.map_or(Duration::ZERO, |last| last.elapsed()));
                last = Some(Instant::now());
                arrived += 1;
            }
            (arrived, gap)
        });
        Ok(Self { stop, sender, receiver })
    }

    /// Ends it; gives how many were sent, how many arrived, and the longest time without any beyond the
    /// longest pause of the sender: a busy machine may stop that too.
    pub(crate) fn finish(self) -> Result<(u32, u32, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, pause) =
            self.sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        let received =
            self.receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?;
        Ok((sent, received.0, received.1.saturating_sub(pause)))
    }
}

/// Says what was measured, on a line of its own.
pub(crate) fn say(what: &str, number: f64) {
    println!("\n{what}: {number:.1}");
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
