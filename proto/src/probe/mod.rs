//! What two nodes say to find ways to each other: probes, on the WireGuard port and through relays.
//!
//! Integers are big-endian; an address is 16 bytes of IPv6 (IPv4 mapped) and a port. `docs/paths.md`
//! tells what each is for.
//!
//! | bytes | what |
//! |---|---|
//! | 6 | [`MAGIC`] |
//! | 32 | the sender's probe key |
//! | 24 | nonce |
//! | 17 or more | sealed: kind (1), then what follows; tag (16) |
//!
//! | kind | then |
//! |---|---|
//! | 1 ping | id (12), then as many zeros as the path is asked to carry |
//! | 2 pong | id (12), the ping's source as it was seen (18), messages expected (4), arrived (4) |
//! | 3 call me | flags (1), count (1), so many addresses (18 each), then one that a router has mapped, if a flag says so |
//!
//! The first byte of [`MAGIC`] is none of WireGuard's (1 to 4), and its top bits are not those of
//! STUN (00).

mod seal;

use std::net::SocketAddr;

use crate::bytes::{ADDRESS_LEN, Reader, address_bytes};
use crate::key::{KEY_LEN, PublicKey};

pub use seal::{NONCE_LEN, Nonce, ProbeSecret, Sealer};

/// How each probe begins; the last byte is the version.
pub const MAGIC: [u8; 6] = *b"nwprb\x01";
/// The most addresses of a call.
pub const MAX_CALLED: usize = 32;
/// What a probe of no content has.
pub const PROBE_OVERHEAD: usize = HEADER_LEN + 1 + TAG_LEN;
/// The longest probe: that of a path of 9000 bytes.
pub const MAX_PROBE: usize = 9000;
/// Sealed, a ping that asks for nothing has this length.
pub const PING_LEN: usize = PROBE_OVERHEAD + ID_LEN;

const HEADER_LEN: usize = MAGIC.len() + KEY_LEN + NONCE_LEN;
const TAG_LEN: usize = 16;
const ID_LEN: usize = 12;
const HARD: u8 = 1;
const CALLS_BACK: u8 = 2;
const HAS_MAPPED: u8 = 4;

/// Names a ping, so that only its answer counts. Nobody can guess it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PingId(pub [u8; ID_LEN]);

/// What one node says to another about ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// "Do you hear me here?"
    Ping {
        /// Which.
        id: PingId,
        /// Zeros behind it, to try how much the path carries.
        room: u16,
    },
    /// "I heard that one."
    Pong(Pong),
    /// Through a relay: "I am trying these addresses of mine, try them too."
    Call(Call),
}

/// The answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Which.
    pub id: PingId,
    /// From where the ping came.
    pub seen: SocketAddr,
    /// What of the asker's packets has arrived so far.
    pub received: Received,
}

/// How many sealed messages of a peer were to arrive, by their numbers, and how many did. Both count
/// on and wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Sent, as far as is known.
    pub expected: u32,
    /// Arrived.
    pub arrived: u32,
}

/// A wish to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Whether the caller's NAT gives each destination another port.
    pub hard: bool,
    /// Whether the caller has just been called: no need to call back.
    pub answers: bool,
    /// Where it may be reached.
    pub at: Vec<SocketAddr>,
    /// Where a router has promised to bring to it what comes, from anybody.
    pub mapped: Option<SocketAddr>,
}

/// A probe that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Too short, too long, or of another form.
    #[error("it is no probe")]
    Malformed,
    /// It was not sealed by whom it says for us.
    #[error("it is not sealed by its sender for this node")]
    Seal,
}

/// Whether a datagram says that it is a probe.
#[must_use]
pub fn is_probe(datagram: &[u8]) -> bool {
    datagram.starts_with(&MAGIC)
}

/// The probe key of whoever sealed it, as it says.
pub fn sender(datagram: &[u8]) -> Result<PublicKey, ProbeError> {
    let fits = (PROBE_OVERHEAD..=MAX_PROBE).contains(&datagram.len()) && is_probe(datagram);
    let key = datagram.get(MAGIC.len()..).and_then(<[u8]>::first_chunk::<KEY_LEN>);
    key.filter(|_| fits).map(|key| PublicKey::from(*key)).ok_or(ProbeError::Malformed)
}

impl Probe {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Ping { id, room } => {
                let longest = MAX_PROBE - PING_LEN;
                [&[1][..], &id.0, &vec![0; usize::from(*room).min(longest)]].concat()
            }
            Self::Pong(Pong { id, seen, received: Received { expected, arrived } }) => [
                &[2][..],
                &id.0,
                &address_bytes(*seen),
                &expected.to_be_bytes(),
                &arrived.to_be_bytes(),
            ]
            .concat(),
            Self::Call(call) => {
                let flag = |is: bool, flag: u8| if is { flag } else { 0 };
                let flags = flag(call.hard, HARD)
                    | flag(call.answers, CALLS_BACK)
                    | flag(call.mapped.is_some(), HAS_MAPPED);
                let at = &call.at[..call.at.len().min(MAX_CALLED)];
                // At most MAX_CALLED.
                let mut bytes = vec![3, flags, u8::try_from(at.len()).unwrap_or_default()];
                let all = at.iter().chain(&call.mapped);
                bytes.extend(all.flat_map(|address| address_bytes(*address)));
                bytes
            }
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            1 => {
                let id = PingId(reader.array()?);
                let rest = reader.rest();
                let room = u16::try_from(rest.len()).ok()?;
                rest.iter().all(|&byte| byte == 0).then_some(Self::Ping { id, room })
            }
            2 => {
                let (id, seen) = (PingId(reader.array()?), reader.address()?);
                let received = Received { expected: reader.u32()?, arrived: reader.u32()? };
                reader.end()?;
                Some(Self::Pong(Pong { id, seen, received }))
            }
            3 => {
                let flags = reader.u8()?;
                let count = usize::from(reader.u8()?);
                let known = flags & !(HARD | CALLS_BACK | HAS_MAPPED) == 0;
                let mapped = flags & HAS_MAPPED != 0;
                let rest = reader.rest();
                let addresses = count + usize::from(mapped);
                if !known || count > MAX_CALLED || rest.len() != addresses * ADDRESS_LEN {
                    return None;
                }
                let mut reader = Reader::new(rest);
                let at = (0..count).map(|_| reader.address()).collect::<Option<_>>()?;
                let mapped = if mapped { Some(reader.address()?) } else { None };
                let (hard, answers) = (flags & HARD != 0, flags & CALLS_BACK != 0);
                Some(Self::Call(Call { hard, answers, at, mapped }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
