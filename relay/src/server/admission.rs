//! The door: a node shows its ticket and proves its key, in time, and few at once from one source.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use proto::relay::{
    ClientFrame, Framing, Proof, Refusal, RelayFrame, VERSION, finish_frame, split_frame,
    start_frame,
};
use proto::ticket::UnixSeconds;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

use super::config::Config;
use super::hub::{HubHandle, Join, ToHub};
use super::line::{LineReceiver, line};
use super::sources::{Place, Sources};
use crate::core::{Admitted, ClientId, ControlKeys, Counters, Way, admit};

/// What admits, and counts whom it does not.
pub(super) struct Door {
    keys: ControlKeys,
    sources: Arc<Sources>,
    pub(super) time: Duration,
    pub(super) hub: HubHandle,
    pub(super) tally: Arc<Tally>,
    /// Every connection holds the door, so this is gone when the last one is.
    _alive: mpsc::Sender<Infallible>,
}

/// Counts connections that never became clients.
#[derive(Debug, Default)]
pub(super) struct Tally {
    refusals: [AtomicU64; Refusal::ALL.len()],
    crowded: AtomicU64,
    failed: AtomicU64,
}

/// What a connection's proofs are judged by.
#[derive(Clone, Copy)]
pub(super) struct Binding {
    nonce: [u8; 32],
    exporter: [u8; 32],
}

/// A client that the hub serves.
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) binding: Binding,
    pub(super) line: LineReceiver,
    /// What came after the proof.
    pub(super) rest: BytesMut,
}

/// Connections that never became clients.
pub(super) struct Turned {
    /// Refused, in the order of [`Refusal::ALL`].
    refused: [u64; Refusal::ALL.len()],
    /// Turned away because too many were in admission.
    pub(super) crowded: u64,
    /// Failed: TLS, HTTP, or gone.
    pub(super) failed: u64,
}

impl Tally {
    pub(super) fn turned(&self) -> Turned {
        Turned {
            refused: std::array::from_fn(|at| self.refusals[at].load(Ordering::Relaxed)),
            crowded: self.crowded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

impl Turned {
    /// Refused by the door before admission, or by the core after it, by the reason.
    pub(super) fn refused<'a>(
        &'a self,
        core: &'a Counters,
    ) -> impl Iterator<Item = (&'static str, u64)> + 'a {
        let count = |why: Refusal| self.refused[why.index()] + core.refused(why);
        Refusal::ALL.into_iter().map(move |why| (why.label(), count(why)))
    }
}

impl Door {
    /// A door; what comes with it ends when the door and all its connections have.
    pub(super) fn new(config: &Config, hub: HubHandle) -> (Self, mpsc::Receiver<Infallible>) {
        let (alive, gone) = mpsc::channel(1);
        let door = Self {
            keys: config.control_keys.clone(),
            sources: Arc::new(Sources::new(config.admissions, config.source_admissions)),
            time: config.admission_time,
            hub,
            tally: Arc::default(),
            _alive: alive,
        };
        (door, gone)
    }

    /// A place in admission, before anything is done for a connection.
    pub(super) fn enter(&self, ip: IpAddr) -> Option<Place> {
        let place = self.sources.enter(ip);
        if place.is_none() {
            self.tally.crowded.fetch_add(1, Ordering::Relaxed);
        }
        place
    }

    /// Whether QUIC's sources have to show that they are true before they take a place.
    pub(super) fn is_busy(&self) -> bool {
        self.sources.is_busy()
    }

    /// Counts a connection that failed before it was refused or admitted.
    pub(super) fn failed(&self) {
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Leads a connection through its admission; `None` if it is over. A refusal is told.
    pub(super) async fn admit(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
        exporter: [u8; 32],
        way: Way,
    ) -> Option<Client> {
        match self.try_admit(reader, writer, exporter, way).await {
            Ok(client) => Some(client),
            Err(Turn::Failed) => {
                self.failed();
                None
            }
            Err(Turn::Refused(why)) => {
                self.refuse(writer, why).await;
                None
            }
        }
    }

    /// Judges a later proof on the same connection.
    pub(super) fn renew(&self, binding: &Binding, proof: &Proof) -> Result<Admitted, Refusal> {
        admit(&self.keys, proof, &binding.nonce, &binding.exporter, wall())
    }

    async fn try_admit(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
        exporter: [u8; 32],
        way: Way,
    ) -> Result<Client, Turn> {
        let mut held = BytesMut::with_capacity(512);
        let hello = next_frame(reader, &mut held).await?;
        match ClientFrame::parse(&hello) {
            Ok(ClientFrame::Hello(VERSION)) => {}
            Ok(ClientFrame::Hello(_)) => return Err(Turn::Refused(Refusal::Version)),
            _ => return Err(Turn::Refused(Refusal::Malformed)),
        }
        let mut nonce = [0; 32];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Turn::Failed)?;
        write(writer, &RelayFrame::Challenge(VERSION, nonce)).await?;
        let proof = next_frame(reader, &mut held).await?;
        let Ok(ClientFrame::Proof(proof)) = ClientFrame::parse(&proof) else {
            return Err(Turn::Refused(Refusal::Malformed));
        };
        let binding = Binding { nonce, exporter };
        let admitted = self.renew(&binding, &proof).map_err(Turn::Refused)?;
        let (line, delivered) = line();
        let (reply, joined) = oneshot::channel();
        let join = Join { admitted, way, line, reply };
        self.hub.tell(ToHub::Join(Box::new(join))).await.map_err(|_| Turn::Failed)?;
        let id = joined.await.map_err(|_| Turn::Failed)?.map_err(Turn::Refused)?;
        Ok(Client { id, binding, line: delivered, rest: held })
    }

    async fn refuse(&self, writer: &mut (impl AsyncWrite + Unpin), why: Refusal) {
        self.tally.refusals[why.index()].fetch_add(1, Ordering::Relaxed);
        tracing::debug!(reason = why.label(), "a connection was refused");
        // Who does not want to hear it is refused all the same.
        let _ = write(writer, &RelayFrame::Refused(why)).await;
        let _ = writer.shutdown().await;
    }
}

/// Why a connection is not admitted.
enum Turn {
    Refused(Refusal),
    Failed,
}

/// The next frame of one who is not admitted yet.
async fn next_frame(
    reader: &mut (impl AsyncRead + Unpin),
    held: &mut BytesMut,
) -> Result<BytesMut, Turn> {
    loop {
        match split_frame(held, Framing::Admission) {
            Ok(Some((frame, taken))) => {
                let header = taken - frame.len();
                let mut whole = held.split_to(taken);
                return Ok(whole.split_off(header));
            }
            Ok(None) => {}
            Err(_) => return Err(Turn::Refused(Refusal::Malformed)),
        }
        if reader.read_buf(held).await.map_err(|_| Turn::Failed)? == 0 {
            return Err(Turn::Failed);
        }
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), frame: &RelayFrame<'_>) -> Result<(), Turn> {
    let mut bytes = Vec::new();
    let start = start_frame(&mut bytes);
    frame.write(&mut bytes);
    finish_frame(&mut bytes, start);
    writer.write_all(&bytes).await.map_err(|_| Turn::Failed)?;
    writer.flush().await.map_err(|_| Turn::Failed)
}

fn wall() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
