//! Who is served: a ticket by a control key, and a proof of the node's key on this very connection.

use std::collections::BTreeMap;

use proto::relay::{Proof, Refusal, proof_message};
use proto::ticket::{ControlKeyId, Ticket, UnixSeconds, VerifyingKey};

/// The control keys whose tickets are good here; several while they are changed.
#[derive(Clone, Debug, Default)]
pub struct ControlKeys(BTreeMap<ControlKeyId, VerifyingKey>);

/// A node that has proven itself: only [`admit`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted(Ticket);

impl FromIterator<(ControlKeyId, VerifyingKey)> for ControlKeys {
    fn from_iter<I: IntoIterator<Item = (ControlKeyId, VerifyingKey)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

impl Admitted {
    /// What the ticket allows.
    #[must_use]
    pub const fn ticket(&self) -> &Ticket {
        &self.0
    }
}

/// Judges a proof, given on a connection with this nonce and these exported bytes.
pub fn admit(
    keys: &ControlKeys,
    proof: &Proof,
    nonce: &[u8; 32],
    exporter: &[u8; 32],
    wall: UnixSeconds,
) -> Result<Admitted, Refusal> {
    // Cheap checks first: a stranger should not make us compute.
    let key = keys.0.get(&proof.ticket.signer()).ok_or(Refusal::UnknownControlKey)?;
    if proof.ticket.claims().not_after <= wall {
        return Err(Refusal::ExpiredTicket);
    }
    let ticket = proof.ticket.verify(key).map_err(|_| Refusal::ForgedTicket)?;
    let message = proof_message(nonce, exporter);
    if !ticket.identity.verifies(&message, &proof.signature) {
        return Err(Refusal::BadProof);
    }
    Ok(Admitted(ticket))
}
