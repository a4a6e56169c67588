//! Spare sockets: a hard NAT gives each its own port. One that works carries packets for the engine,
//! which finds it at an address of this host's own, as it finds relays.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use paths::SocketId;
use proto::probe::is_probe;
use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::io::divert::MARK;

const LONGEST: usize = 65_535;

/// A probe that came on a spare socket.
pub(crate) type SpareProbe = (SocketId, SocketAddr, Box<[u8]>);

/// See the module.
pub(super) struct Spares {
    open: HashMap<SocketId, Spare>,
    probes: mpsc::Sender<SpareProbe>,
    /// The WireGuard port.
    pub(super) engine: u16,
}

/// Dropped, it is closed.
struct Spare {
    ends: Arc<Ends>,
    tasks: [JoinHandle<()>; 2],
}

struct Ends {
    outside: UdpSocket,
    /// Where the engine finds it.
    inside: UdpSocket,
    engine: SocketAddr,
    /// From where its packets come, and to where they go.
    peer: OnceLock<SocketAddr>,
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Spares {
    pub(super) fn new(probes: mpsc::Sender<SpareProbe>) -> Self {
        Self { open: HashMap::new(), probes, engine: 0 }
    }

    /// Opens so many; fewer if the host does not give more.
    pub(super) fn open(&mut self, first: SocketId, count: u32) {
        let engine = SocketAddr::from((Ipv4Addr::LOCALHOST, self.engine));
        for id in (0..count).map(|n| SocketId(first.0.wrapping_add(n))) {
            match Spare::open(id, engine, self.probes.clone()) {
                Ok(spare) => drop(self.open.insert(id, spare)),
                Err(error) => return tracing::debug!(%error, "no more spare sockets"),
            }
        }
    }

    pub(super) fn close(&mut self, first: SocketId, count: u32, except: &[SocketId]) {
        self.open.retain(|id, _| id.0.wrapping_sub(first.0) >= count || except.contains(id));
    }

    /// Sends a probe.
    pub(super) fn send(&self, id: SocketId, to: SocketAddr, probe: &[u8]) {
        if let Some(spare) = self.open.get(&id) {
            // What cannot be sent is asked again.
            let _ = spare.ends.outside.try_send_to(probe, to);
        }
    }

    /// Where the engine has to send what this one is to send there.
    pub(super) fn lead(&self, id: SocketId, to: SocketAddr) -> Option<SocketAddr> {
        let spare = self.open.get(&id)?;
        (*spare.ends.peer.get_or_init(|| to) == to).then(|| spare.ends.inside.local_addr().ok())?
    }
}

impl Spare {
    fn open(
        id: SocketId,
        engine: SocketAddr,
        probes: mpsc::Sender<SpareProbe>,
    ) -> io::Result<Self> {
        let (outside, inside) = (socket(Ipv4Addr::UNSPECIFIED)?, socket(Ipv4Addr::LOCALHOST)?);
        let ends = Arc::new(Ends { outside, inside, engine, peer: OnceLock::new() });
        let tasks = [
            tokio::spawn(receive(id, Arc::clone(&ends), probes)),
            tokio::spawn(send(Arc::clone(&ends))),
        ];
        Ok(Self { ends, tasks })
    }
}

fn socket(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // A host that does not allow marks has no exit node to leave out.
    let _ = socket.set_mark(MARK);
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    UdpSocket::from_std(socket.into())
}

/// From the network: probes for the choice, the rest for the engine.
async fn receive(id: SocketId, ends: Arc<Ends>, probes: mpsc::Sender<SpareProbe>) {
    let mut buffer = vec![0; LONGEST];
    loop {
        // Errors are those of single datagrams before.
        let Ok((len, from)) = ends.outside.recv_from(&mut buffer).await else { continue };
        let datagram = &buffer[..len];
        if is_probe(datagram) {
            // One that nobody has time for is sent again.
            let _ = probes.try_send((id, from, datagram.into()));
        } else if *ends.peer.get_or_init(|| from) == from {
            let _ = ends.inside.send_to(datagram, ends.engine).await;
        }
    }
}

/// From the engine to the network.
async fn send(ends: Arc<Ends>) {
    let mut buffer = vec![0; LONGEST];
    loop {
        let Ok((len, from)) = ends.inside.recv_from(&mut buffer).await else { continue };
        if from == ends.engine
            && let Some(peer) = ends.peer.get()
        {
            let _ = ends.outside.send_to(&buffer[..len], *peer).await;
        }
    }
}
