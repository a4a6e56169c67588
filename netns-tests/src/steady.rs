//! Traffic that goes on and on while something happens to the way: what was lost, and how long nothing
//! came.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::host::Host;
use crate::traffic::{udp_socket, unspecified_like};

/// How long a connection may stand still.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long is waited for what is under way.
const QUIET: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(50);
/// Of a stream: a piece, and the time between two.
const CHUNK: usize = 8 << 10;
const PACE: Duration = Duration::from_millis(2);

/// A TCP connection that sends steadily, and is watched.
#[derive(Debug)]
pub struct SteadyStream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Result<u64>>,
    receiver: JoinHandle<Result<(u64, Duration)>>,
}

impl SteadyStream {
    /// Connects, and sends.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn start(from: &Host, to: &Host, address: SocketAddr) -> Result<Self> {
        let (mut stream, mut accepted) = connection(from, to, address)?;
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
    ///
    /// # Errors
    /// When the connection was reset or stood still, or bytes are missing.
    pub fn finish(self) -> Result<(u64, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = joined(self.sender)??;
        let (received, gap) = joined(self.receiver)??;
        ensure!(received == sent, "{received} of {sent} bytes arrived");
        Ok((received, gap))
    }
}

/// Questions and answers on one TCP connection, each question after the answer to the one before.
#[derive(Debug)]
pub struct SteadyQuestions {
    stop: Arc<AtomicBool>,
    asker: JoinHandle<Result<(u64, Duration)>>,
    answerer: JoinHandle<Result<()>>,
}

impl SteadyQuestions {
    /// Connects, and asks.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn start(from: &Host, to: &Host, address: SocketAddr) -> Result<Self> {
        let (mut asking, mut answering) = connection(from, to, address)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let asker = std::thread::spawn(move || {
            let (mut asked, mut longest) = (0_u64, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let start = Instant::now();
                let question = asked.to_be_bytes();
                asking.write_all(&question).context("asking: the connection is gone")?;
                let mut answer = [0; 8];
                asking.read_exact(&mut answer).context("no answer: the connection is gone")?;
                ensure!(answer == question, "an answer to another question");
                longest = longest.max(start.elapsed());
                asked += 1;
                std::thread::sleep(PACE);
            }
            Ok((asked, longest))
        });
        let answerer = std::thread::spawn(move || {
            let mut question = [0; 8];
            // Until the asker closes.
            while answering.read_exact(&mut question).is_ok() {
                answering.write_all(&question).context("answering: the connection is gone")?;
            }
            Ok(())
        });
        Ok(Self { stop, asker, answerer })
    }

    /// Ends it; gives how many were answered, and the longest wait for an answer.
    ///
    /// # Errors
    /// When the connection was reset or stood still.
    pub fn finish(self) -> Result<(u64, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let asked = joined(self.asker)??;
        joined(self.answerer)??;
        Ok(asked)
    }
}

/// How many datagrams go out together, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// At once.
    pub burst: u32,
    /// Between two bursts.
    pub every: Duration,
}

impl Pace {
    /// Some 400 a second.
    pub const SLOW: Self = Self { burst: 1, every: Duration::from_millis(2) };
    /// Some 3,500 a second.
    pub const FAST: Self = Self { burst: 4, every: Duration::from_millis(1) };
}

/// Numbered datagrams at a steady pace, and when each arrived.
#[derive(Debug)]
pub struct SteadyDatagrams {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<Result<(u64, Duration)>>,
    receiver: JoinHandle<Duration>,
}

/// What came of [`SteadyDatagrams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// How many were sent.
    pub sent: u64,
    /// How many arrived.
    pub arrived: u64,
    /// The longest time without any, beyond the longest pause of the sender: a busy machine may stop
    /// that too.
    pub gap: Duration,
}

impl Arrivals {
    /// How many did not arrive.
    #[must_use]
    pub const fn lost(self) -> u64 {
        self.sent.saturating_sub(self.arrived)
    }
}

impl SteadyDatagrams {
    /// Sends to an address of a host.
    ///
    /// # Errors
    /// When a socket cannot be had.
    pub fn start(from: &Host, to: &Host, address: SocketAddr, pace: Pace) -> Result<Self> {
        let receiver = udp_socket(to, address)?;
        receiver.set_read_timeout(Some(TICK))?;
        let destination = receiver.local_addr()?;
        let socket = udp_socket(from, unspecified_like(destination))?;
        let (stop, arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, ended, counted) = (stop.clone(), stop.clone(), arrived.clone());
        let sender = std::thread::spawn(move || {
            let (mut sent, mut pause, mut last) = (0_u64, Duration::ZERO, Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                for _ in 0..pace.burst {
                    socket.send_to(&sent.to_be_bytes(), destination)?;
                    sent += 1;
                }
                pause = pause.max(last.elapsed());
                last = Instant::now();
                std::thread::sleep(pace.every);
            }
            Ok((sent, pause))
        });
        let receiver = std::thread::spawn(move || {
            let (mut gap, mut last) = (Duration::ZERO, None::<Instant>);
            let mut datagram = [0; 8];
            loop {
                if receiver.recv(&mut datagram).is_ok() {
                    gap = gap.max(last.map_or(Duration::ZERO, |last| last.elapsed()));
                    last = Some(Instant::now());
                    counted.fetch_add(1, Ordering::Relaxed);
                } else if ended.load(Ordering::Relaxed)
                    && last.is_none_or(|last| last.elapsed() > QUIET)
                {
                    return gap;
                }
            }
        });
        Ok(Self { stop, arrived, sender, receiver })
    }

    /// How many have arrived.
    #[must_use]
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it could not send.
    pub fn finish(self) -> Result<Arrivals> {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, pause) = joined(self.sender)??;
        let gap = joined(self.receiver)?.saturating_sub(pause);
        Ok(Arrivals { sent, arrived: self.arrived.load(Ordering::Relaxed), gap })
    }
}

fn connection(from: &Host, to: &Host, address: SocketAddr) -> Result<(TcpStream, TcpStream)> {
    let listener = to.enter(|| TcpListener::bind(address))??;
    let address = listener.local_addr()?;
    let stream =
        from.enter(|| TcpStream::connect_timeout(&address, PATIENCE))?.context("connecting")?;
    let (accepted, _) = listener.accept()?;
    for stream in [&stream, &accepted] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
    }
    Ok((stream, accepted))
}

fn joined<T>(thread: JoinHandle<T>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread of steady traffic panicked"))
}
