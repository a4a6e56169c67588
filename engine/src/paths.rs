//! Ways to a peer, as somebody outside chooses them.

use std::net::SocketAddr;

use proto::key::PublicKey;

use crate::ecn::Ecn;
use crate::node::Engine;
use crate::noise::MESSAGE_ROOM;
use crate::output::{Endpoint, Output};
use crate::peer::Peer;
use crate::time::Timestamp;

/// What is asked for one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// A relay takes packets for the peer here, from now on. Used at once if the peer is nowhere.
    Relay(SocketAddr),
    /// Send here, until the peer is heard from elsewhere.
    Use(SocketAddr),
    /// Send here, from wherever the peer is heard; somebody outside knows better.
    Hold(SocketAddr),
    /// Send nowhere.
    Nowhere,
    /// Packets of the host of at most so many bytes fit the way; the host is told of longer ones.
    Fits(usize),
    /// Ask for a session at these addresses, where the peer may be: the one that answers is used.
    Probe(Vec<SocketAddr>),
}

impl Engine {
    /// Makes a change of the ways to a peer.
    pub fn change_path(
        &mut self,
        peer: &PublicKey,
        change: &PathChange,
        now: Timestamp,
        out: &mut Output,
    ) {
        let Some(&slot) = self.by_key.get(peer) else { return };
        let up = self.up;
        let Some(peer) = self.peer_mut(slot) else { return };
        match change {
            PathChange::Relay(relay) => {
                let was_used = peer.endpoint.is_none_or(|at| peer.relay == Some(at.address));
                peer.relay = Some(*relay);
                if was_used {
                    peer.endpoint = Some(Endpoint::from(*relay));
                }
            }
            PathChange::Use(address) => {
                (peer.endpoint, peer.held) = (Some(Endpoint::from(*address)), false);
            }
            PathChange::Hold(address) => {
                (peer.endpoint, peer.held) = (Some(Endpoint::from(*address)), true);
                // What asked elsewhere for a session may not have been heard; packets wait for it.
                if up && !peer.queue.is_empty() {
                    peer.ask_again(&[*address], now, out);
                }
            }
            PathChange::Fits(bytes) => peer.fits = *bytes,
            PathChange::Nowhere => (peer.endpoint, peer.held) = (None, true),
            PathChange::Probe(addresses) => {
                if up {
                    peer.ask_again(addresses, now, out);
                }
            }
        }
        self.stay_awake(slot, now);
    }
}

impl Peer {
    /// Asks for a session at these addresses, whether an answer is awaited or not.
    fn ask_again(&mut self, addresses: &[SocketAddr], now: Timestamp, out: &mut Output) {
        let Some(tunnel) = self.tunnel.as_mut() else { return };
        let slot = out.transmits.slot(MESSAGE_ROOM);
        let Some(len) = tunnel.initiate_again(slot, now) else { return };
        let message = slot[..len].to_vec();
        for &to in addresses {
            out.transmits.slot(MESSAGE_ROOM)[..len].copy_from_slice(&message);
            out.transmits.commit(to.into(), Ecn::NotCapable, len);
            self.tx_bytes += len as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_held_does_not_roam() {
        let at = |port| Endpoint::from(SocketAddr::from(([192, 0, 2, 1], port)));
        let mut peer = Peer::new(PublicKey::from([1; 32]));
        let now = Timestamp::default();
        peer.heard(at(1), 32, now);
        assert_eq!(peer.endpoint, Some(at(1)));
        (peer.endpoint, peer.held) = (Some(at(2)), true);
        peer.heard(at(1), 32, now);
        assert_eq!(peer.endpoint, Some(at(2)));
    }
}
