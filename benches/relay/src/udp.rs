//! Datagrams: lanes, TURN, and what sends all back. As many are on their way as fit a window, so that
//! the relay is kept busy and nothing is dropped for want of room.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

use crate::lanes::{self, Opened};
use crate::turn::{Allocation, channel_header};
use crate::{Carried, Load, Target, Way, usage};

const BUFFER: usize = 4 << 20;
/// An answer that is awaited while a relay is asked for something.
const PATIENCE: Duration = Duration::from_millis(300);
/// Before a load is measured.
const WARM_UP: Duration = Duration::from_millis(200);
/// What has not come by then is lost.
const LOST: Duration = Duration::from_millis(10);
/// Receives in one call, and what each can bring.
const RECEIVES: usize = 8;
const RECEIVE_LIMIT: usize = 65_535;
/// The most bytes of one send.
const SEND_LIMIT: usize = 60_000;

/// What stands before each packet.
#[derive(Clone, Copy)]
pub(crate) enum Header {
    Nothing,
    Lane([u8; 8]),
    Channel,
}

/// One socket, connected to the relay or to what stands for it.
pub(crate) struct End {
    pub(crate) socket: UdpSocket,
    pub(crate) header: Header,
}

/// Two ends.
pub(crate) struct Pair {
    pub(crate) from: End,
    pub(crate) to: End,
}

/// Pairs, and what keeps them alive.
pub(crate) struct Pairs {
    pub(crate) pairs: Vec<Pair>,
    _lanes: Option<Opened>,
}

impl End {
    /// A packet as it is sent.
    pub(crate) fn datagram(&self, payload: &[u8]) -> Vec<u8> {
        match self.header {
            Header::Nothing => payload.to_vec(),
            Header::Lane(header) => [&header[..], payload].concat(),
            Header::Channel => [&channel_header(payload.len())[..], payload].concat(),
        }
    }

    /// Of what is received, where the payload begins.
    pub(crate) fn payload_at(&self) -> usize {
        self.datagram(&[]).len()
    }
}

/// A socket that waits for an answer, but not for ever.
pub(crate) fn socket(relay: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("a socket")?;
    socket.connect(relay).with_context(|| format!("connecting to {relay}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let buffers = socket2::SockRef::from(&socket);
    buffers.set_recv_buffer_size(BUFFER)?;
    buffers.set_send_buffer_size(BUFFER)?;
    Ok(socket)
}

/// So many pairs, or nothing if the way has no datagrams of UDP.
pub(crate) async fn pairs(target: &Target, count: usize) -> Result<Option<Pairs>> {
    let relay = target.relay;
    let plain = |pairs| Pairs { pairs, _lanes: None };
    Ok(Some(match target.way {
        Way::Lane => {
            let opened = Opened::new(relay, count).await?;
            let pairs: Result<_> = opened.lanes().take(count).map(lane).collect();
            Pairs { pairs: pairs?, _lanes: Some(opened) }
        }
        Way::Turn => plain((0..count).map(|_| turn(relay)).collect::<Result<_>>()?),
        Way::Direct => plain((0..count).map(|_| direct()).collect::<Result<_>>()?),
        Way::Quic | Way::Tls | Way::Iroh | Way::IrohTls => return Ok(None),
    }))
}

/// A lane, both ends bound.
pub(crate) fn lane([one, other]: [&proto::relay::LaneOpened; 2]) -> Result<Pair> {
    let end = |opened| -> Result<End> {
        let socket = socket(lanes::relay(opened)?)?;
        let header = Header::Lane(lanes::bind(opened, &socket)?);
        Ok(End { socket, header })
    };
    Ok(Pair { from: end(one)?, to: end(other)? })
}

fn turn(relay: SocketAddr) -> Result<Pair> {
    let client = socket(relay)?;
    let allocation = Allocation::new(&client)?;
    // The peer is known by the address that it has towards the relay.
    let peer = socket(allocation.relayed)?;
    allocation.bind_channel(&client, peer.local_addr()?)?;
    let from = End { socket: client, header: Header::Channel };
    Ok(Pair { from, to: End { socket: peer, header: Header::Nothing } })
}

fn direct() -> Result<Pair> {
    let one = UdpSocket::bind("127.0.0.1:0")?;
    let other = UdpSocket::bind("127.0.0.1:0")?;
    one.connect(other.local_addr()?)?;
    other.connect(one.local_addr()?)?;
    let end = |socket| End { socket, header: Header::Nothing };
    Ok(Pair { from: end(one), to: end(other) })
}

/// Loads the relay for a time.
pub(crate) fn carry(pairs: &Pairs, load: Load, time: Duration, of: &[u32]) -> Result<Carried> {
    let flows: Result<Vec<Flow<'_>>> =
        pairs.pairs.iter().take(load.pairs).map(|pair| Flow::new(pair, load)).collect();
    let mut work = Work { flows: flows?, room: vec![0; RECEIVES * RECEIVE_LIMIT] };
    work.until(Instant::now() + WARM_UP)?;
    let (received, lost) = work.counts();
    let (start, cpu) = (Instant::now(), usage::cpu_seconds(of)?);
    work.until(start + time)?;
    let cpu_seconds = usage::cpu_seconds(of)? - cpu;
    let seconds = start.elapsed().as_secs_f64();
    let (all, all_lost) = work.counts();
    Ok(Carried { load, packets: all - received, seconds, cpu_seconds, lost: all_lost - lost })
}

struct Work<'p> {
    flows: Vec<Flow<'p>>,
    room: Vec<u8>,
}

/// A pair at work.
struct Flow<'p> {
    pair: &'p Pair,
    sender: UdpSocketState,
    receiver: UdpSocketState,
    to: SocketAddr,
    window: usize,
    segment: usize,
    bytes: Vec<u8>,
    on_the_way: usize,
    received: u64,
    lost: u64,
    last: Instant,
}

impl Work<'_> {
    fn until(&mut self, end: Instant) -> Result<()> {
        let mut now = Instant::now();
        while now < end {
            for flow in &mut self.flows {
                flow.send();
                flow.receive(&mut self.room, now)?;
            }
            now = Instant::now();
        }
        Ok(())
    }

    fn counts(&self) -> (u64, u64) {
        let received = self.flows.iter().map(|flow| flow.received).sum();
        (received, self.flows.iter().map(|flow| flow.lost).sum())
    }
}

impl<'p> Flow<'p> {
    fn new(pair: &'p Pair, load: Load) -> Result<Self> {
        let datagram = pair.from.datagram(&vec![7; load.size]);
        let segment = datagram.len();
        Ok(Self {
            pair,
            sender: UdpSocketState::new((&pair.from.socket).into())?,
            receiver: UdpSocketState::new((&pair.to.socket).into())?,
            to: pair.from.socket.peer_addr()?,
            window: load.window(),
            segment,
            bytes: datagram.repeat((SEND_LIMIT / segment).min(32)),
            on_the_way: 0,
            received: 0,
            lost: 0,
            last: Instant::now(),
        })
    }

    /// Sends what the window lets.
    fn send(&mut self) {
        let many = self.bytes.len() / self.segment;
        while self.on_the_way < self.window {
            let count = (self.window - self.on_the_way).min(many);
            let transmit = Transmit {
                destination: self.to,
                ecn: None,
                contents: &self.bytes[..count * self.segment],
                segment_size: Some(self.segment),
                src_ip: None,
            };
            // A full buffer empties by itself.
            if self.sender.try_send((&self.pair.from.socket).into(), &transmit).is_err() {
                return;
            }
            self.on_the_way += count;
        }
    }

    fn receive(&mut self, room: &mut [u8], now: Instant) -> Result<()> {
        let mut slices = room.chunks_mut(RECEIVE_LIMIT).map(IoSliceMut::new);
        let mut buffers: [IoSliceMut<'_>; RECEIVES] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let mut meta = [RecvMeta::default(); RECEIVES];
        match self.receiver.recv((&self.pair.to.socket).into(), &mut buffers, &mut meta) {
            Ok(runs) => {
                let came: usize =
                    meta[..runs].iter().map(|run| run.len.div_ceil(run.stride.max(1))).sum();
                self.received += came as u64;
                self.on_the_way = self.on_the_way.saturating_sub(came);
                self.last = now;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if self.on_the_way > 0 && now.saturating_duration_since(self.last) > LOST {
                    self.lost += self.on_the_way as u64;
                    (self.on_the_way, self.last) = (0, now);
                }
            }
            Err(error) => return Err(error).context("receiving"),
        }
        Ok(())
    }
}
