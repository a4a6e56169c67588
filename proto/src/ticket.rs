//! The relay ticket: what the control plane signs so that a relay serves a node.
//!
//! A ticket binds the node's WireGuard key, to which packets are addressed, and its identity key,
//! with which it proves to a relay that it is the node. All integers are big-endian.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | version: `00 00 00 01` |
//! | 4 | 4 | id of the control key that signed |
//! | 8 | 16 | network |
//! | 24 | 32 | the node's WireGuard key |
//! | 56 | 32 | the node's identity key (Ed25519) |
//! | 88 | 8 | not after: seconds since 1970 |
//! | 96 | 8 | bytes a second that the node may send (0: the relay's own limit) |
//! | 104 | 8 | bytes a second that its network may send (0: the relay's own limit) |
//! | 112 | 4 | lanes that the node may have (0: the relay's own limit) |
//! | 116 | 64 | Ed25519 signature over [`TICKET_CONTEXT`] and bytes 0 to 115 |

use curve25519_dalek::edwards::CompressedEdwardsY;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::bytes::Reader;
use crate::key::PublicKey;

/// The length of a signed ticket, in bytes.
pub const TICKET_LEN: usize = 180;
/// What stands before a ticket when it is signed, so that no other signature can be taken for one.
pub const TICKET_CONTEXT: &[u8] = b"nearwire relay ticket v1\0";
/// The length of an Ed25519 signature, in bytes.
pub const SIGNATURE_LEN: usize = 64;

const VERSION: u32 = 1;
const SIGNED_LEN: usize = TICKET_LEN - SIGNATURE_LEN;

/// Names a control key, so that a relay can trust several while they are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ControlKeyId(pub u32);

/// A network: nodes of different ones cannot reach each other through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkId(pub [u8; 16]);

/// Seconds since 1970, as certificates and tickets count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixSeconds(pub u64);

/// The public half of an Ed25519 key: a node's identity, or a control key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifyingKey(pub [u8; 32]);

/// The secret half: a node's identity, or a control key.
pub struct SigningKey(Ed25519KeyPair);

/// What a ticket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The network in which the node may reach others.
    pub network: NetworkId,
    /// The key that the node's packets are addressed to.
    pub node: PublicKey,
    /// The key by which the node proves itself.
    pub identity: VerifyingKey,
    /// When the service ends.
    pub not_after: UnixSeconds,
    /// Bytes a second that the node may send; 0: what the relay allows.
    pub node_rate: u64,
    /// Bytes a second that its network may send; 0: what the relay allows.
    pub network_rate: u64,
    /// Lanes that the node may have; 0: what the relay allows.
    pub lanes: u32,
}

/// A ticket with its signature, which nobody has verified yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignedTicket {
    bytes: [u8; TICKET_LEN],
    signer: ControlKeyId,
    ticket: Ticket,
}

/// Why a ticket is not worth anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Another length or version.
    #[error("this is no ticket of version 1: {TICKET_LEN} bytes that begin with 00 00 00 01")]
    Malformed,
    /// The signature is not by this key.
    #[error("the ticket was not signed by control key {}", .0.0)]
    Forged(ControlKeyId),
}

impl VerifyingKey {
    /// Whether this key's secret half signed these bytes.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl VerifyingKey {
    /// Whether somebody can have its secret half, and nobody else can sign for it: it is a point of the
    /// curve, written in the one way, and none of the few by which anybody signs.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let written = CompressedEdwardsY(self.0);
        let point = written.decompress().filter(|point| point.compress() == written);
        point.is_some_and(|point| !point.is_small_order())
    }
}

impl SigningKey {
    /// The key that belongs to these 32 secret bytes; `None` never happens for Ed25519, where every
    /// seed is a key, but is what ring promises.
    #[must_use]
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).ok().map(Self)
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        VerifyingKey(key)
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut signature = [0; SIGNATURE_LEN];
        signature.copy_from_slice(self.0.sign(message).as_ref());
        signature
    }
}

impl Ticket {
    /// Signs the ticket with a control key.
    #[must_use]
    pub fn sign(&self, signer: ControlKeyId, key: &SigningKey) -> SignedTicket {
        let mut bytes = Vec::with_capacity(TICKET_LEN);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(signer.0.to_be_bytes());
        bytes.extend(self.network.0);
        bytes.extend(self.node.as_bytes());
        bytes.extend(self.identity.0);
        bytes.extend(self.not_after.0.to_be_bytes());
        bytes.extend(self.node_rate.to_be_bytes());
        bytes.extend(self.network_rate.to_be_bytes());
        bytes.extend(self.lanes.to_be_bytes());
        let signature = key.sign(&signed_message(&bytes));
        bytes.extend(signature);
        let mut whole = [0; TICKET_LEN];
        whole.copy_from_slice(&bytes);
        SignedTicket { bytes: whole, signer, ticket: *self }
    }
}

impl SignedTicket {
    /// Reads a ticket, without looking at its signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, TicketError> {
        let bytes = <[u8; TICKET_LEN]>::try_from(bytes).map_err(|_| TicketError::Malformed)?;
        Self::read(bytes).ok_or(TicketError::Malformed)
    }

    fn read(bytes: [u8; TICKET_LEN]) -> Option<Self> {
        let mut reader = Reader::new(&bytes);
        if reader.u32()? != VERSION {
            return None;
        }
        let signer = ControlKeyId(reader.u32()?);
        let ticket = Ticket {
            network: NetworkId(reader.array()?),
            node: PublicKey::from(reader.array()?),
            identity: VerifyingKey(reader.array()?),
            not_after: UnixSeconds(reader.u64()?),
            node_rate: reader.u64()?,
            network_rate: reader.u64()?,
            lanes: reader.u32()?,
        };
        Some(Self { bytes, signer, ticket })
    }

    /// Which control key is said to have signed.
    #[must_use]
    pub const fn signer(&self) -> ControlKeyId {
        self.signer
    }

    /// The bytes, as they are sent.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; TICKET_LEN] {
        &self.bytes
    }

    /// What the ticket says, if this control key signed it.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Ticket, TicketError> {
        let (signed, signature) = self.bytes.split_at(SIGNED_LEN);
        let signature = signature.first_chunk().ok_or(TicketError::Malformed)?;
        if key.verifies(&signed_message(signed), signature) {
            Ok(self.ticket)
        } else {
            Err(TicketError::Forged(self.signer))
        }
    }

    /// What the ticket claims, for its holder; who serves by it must [`verify`](Self::verify).
    #[must_use]
    pub const fn claims(&self) -> &Ticket {
        &self.ticket
    }
}

impl std::fmt::Debug for SignedTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedTicket")
            .field("signer", &self.signer)
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

fn signed_message(signed: &[u8]) -> Vec<u8> {
    [TICKET_CONTEXT, signed].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&Zeroizing::new([seed; 32])).unwrap()
    }

    fn ticket() -> impl Strategy<Value = Ticket> {
        (
            any::<[u8; 16]>(),
            any::<[u8; 32]>(),
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            any::<u32>(),
        )
            .prop_map(|(network, node, not_after, node_rate, network_rate, lanes)| {
                Ticket {
                    network: NetworkId(network),
                    node: PublicKey::from(node),
                    identity: key(3).verifying_key(),
                    not_after: UnixSeconds(not_after),
                    node_rate,
                    network_rate,
                    lanes,
                }
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_signed_is_what_is_read(ticket in ticket(), signer: u32) {
            let signed = ticket.sign(ControlKeyId(signer), &key(1));
            let read = SignedTicket::parse(signed.as_bytes()).unwrap();
            prop_assert_eq!(read, signed);
            prop_assert_eq!(read.signer(), ControlKeyId(signer));
            prop_assert_eq!(read.verify(&key(1).verifying_key()), Ok(ticket));
            let other = read.verify(&key(2).verifying_key());
            prop_assert_eq!(other, Err(TicketError::Forged(ControlKeyId(signer))));
        }

        #[test]
        fn keys_that_sign_are_sound(seed: u8) {
            prop_assert!(key(seed).verifying_key().is_sound());
        }

        #[test]
        fn one_changed_bit_is_a_forgery(ticket in ticket(), at in 4..TICKET_LEN, bit in 0..8_u8) {
            let mut bytes = *ticket.sign(ControlKeyId(1), &key(1)).as_bytes();
            bytes[at] ^= 1_u8 << bit;
            let read = SignedTicket::parse(&bytes).unwrap();
            prop_assert!(read.verify(&key(1).verifying_key()).is_err());
        }

        #[test]
        fn other_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let right = bytes.len() == TICKET_LEN && bytes.starts_with(&[0, 0, 0, 1]);
            prop_assert_eq!(SignedTicket::parse(&bytes).is_ok(), right);
        }
    }
}
