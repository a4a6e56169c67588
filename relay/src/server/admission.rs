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

    /// Judges a later proof of a client on the same connection.
    pub(super) fn renewal(&self, client: ClientId, binding: &Binding, proof: &Proof) -> ToHub {
        match self.judge(binding, proof) {
            Ok(admitted) => ToHub::Renew(client, Box::new(admitted)),
            Err(why) => ToHub::Refuse(client, why),
        }
    }

    fn judge(&self, binding: &Binding, proof: &Proof) -> Result<Admitted, Refusal> {
        admit(&self.keys, proof, &binding.nonce, &binding.exporter, wall())
    }

    async fn try_admit(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
        exporter: [u8; 32],
        way: Way,
    ) -> Result<Client, Turn> {
        let mut greeting = Greeting::new(exporter);
        loop {
            match greeting.step(self)? {
                Step::More => {
                    let read = reader.read_buf(&mut greeting.held).await;
                    if !matches!(read, Ok(1..)) {
                        return Err(Turn::Failed);
                    }
                }
                Step::Say(frame) => write(writer, &frame).await?,
                Step::Proven(binding, admitted) => {
                    let (join, joining) = joining(*admitted, way);
                    self.hub.tell(join).await.map_err(|_| Turn::Failed)?;
                    let id = joining.joined.await.map_err(|_| Turn::Failed)?;
                    let (id, line) = (id.map_err(Turn::Refused)?, joining.line);
                    return Ok(Client { id, binding, line, rest: greeting.held });
                }
            }
        }
    }

    /// Counts a connection that is refused.
    pub(super) fn refused(&self, why: Refusal) {
        self.tally.refusals[why.index()].fetch_add(1, Ordering::Relaxed);
        tracing::debug!(reason = why.label(), "a connection was refused");
    }

    async fn refuse(&self, writer: &mut (impl AsyncWrite + Unpin), why: Refusal) {
        self.refused(why);
        // Who does not want to hear it is refused all the same.
        let _ = write(writer, &RelayFrame::Refused(why)).await;
        let _ = writer.shutdown().await;
    }
}

/// Why a connection is not admitted.
pub(super) enum Turn {
    Refused(Refusal),
    Failed,
}

/// An admission, as far as it has come: a hello, a challenge, a proof.
pub(super) struct Greeting {
    exporter: [u8; 32],
    nonce: Option<[u8; 32]>,
    /// What has come and was not looked at.
    pub(super) held: BytesMut,
}

/// What comes next.
pub(super) enum Step {
    /// More has to be read.
    More,
    Say(RelayFrame<'static>),
    /// The node may join.
    Proven(Binding, Box<Admitted>),
}

impl Greeting {
    pub(super) fn new(exporter: [u8; 32]) -> Self {
        Self { exporter, nonce: None, held: BytesMut::with_capacity(512) }
    }

    /// Goes on with what is held.
    pub(super) fn step(&mut self, door: &Door) -> Result<Step, Turn> {
        let Some(frame) = next_frame(&mut self.held)? else { return Ok(Step::More) };
        match (self.nonce, ClientFrame::parse(&frame)) {
            (None, Ok(ClientFrame::Hello(VERSION))) => {
                let mut nonce = [0; 32];
                SystemRandom::new().fill(&mut nonce).map_err(|_| Turn::Failed)?;
                self.nonce = Some(nonce);
                Ok(Step::Say(RelayFrame::Challenge(VERSION, nonce)))
            }
            (None, Ok(ClientFrame::Hello(_))) => Err(Turn::Refused(Refusal::Version)),
            (Some(nonce), Ok(ClientFrame::Proof(proof))) => {
                let binding = Binding { nonce, exporter: self.exporter };
                let admitted = door.judge(&binding, &proof).map_err(Turn::Refused)?;
                Ok(Step::Proven(binding, Box::new(admitted)))
            }
            _ => Err(Turn::Refused(Refusal::Malformed)),
        }
    }
}

/// The first frame of one who is not admitted yet, if it is whole.
fn next_frame(held: &mut BytesMut) -> Result<Option<BytesMut>, Turn> {
    match split_frame(held, Framing::Admission) {
        Ok(Some((frame, taken))) => {
            let header = taken - frame.len();
            let mut whole = held.split_to(taken);
            Ok(Some(whole.split_off(header)))
        }
        Ok(None) => Ok(None),
        Err(_) => Err(Turn::Refused(Refusal::Malformed)),
    }
}

/// A node that asks the hub to be a client.
pub(super) struct Joining {
    pub(super) joined: oneshot::Receiver<Result<ClientId, Refusal>>,
    pub(super) line: LineReceiver,
}

/// What the hub is to be told, and what comes of it.
pub(super) fn joining(admitted: Admitted, way: Way) -> (ToHub, Joining) {
    let (sender, line) = line();
    let (reply, joined) = oneshot::channel();
    let join = Join { admitted, way, line: sender, reply };
    (ToHub::Join(Box::new(join)), Joining { joined, line })
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
