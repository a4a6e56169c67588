//! What arrived at another shard than its peer's.
//!
//! Steering programs bring packets to the shard that owns their peer. A handshake initiation names
//! no session, so it goes to the first shard, which finds the peer; and for a moment after a change
//! the programs may be behind. What arrives at the wrong shard is handed over, whole.

use dataplane_common::ShardId;

use crate::ecn::Ecn;
use crate::ip::PADDING;
use crate::node::Engine;
use crate::offload::VnetHeader;
use crate::output::{Endpoint, Output};
use crate::time::Timestamp;

/// Something for the shard `to`, whose engine takes it by [`Engine::handle_handover`].
#[derive(Debug)]
pub struct Handover {
    /// The shard that owns the peer.
    pub to: ShardId,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A packet or super-packet from the host.
    Packet { vnet: Option<VnetHeader>, bytes: Box<[u8]> },
    /// A datagram, just as it arrived.
    Datagram { from: Endpoint, ecn: Ecn, bytes: Box<[u8]> },
    /// An initiation that was let in.
    Initiation { from: Endpoint, bytes: Box<[u8]> },
}

impl Engine {
    /// Takes what another shard's engine left in [`Output::handovers`] for this one.
    pub fn handle_handover(&mut self, handover: Handover, now: Timestamp, out: &mut Output) {
        match handover.what {
            What::Packet { vnet, bytes } => {
                let len = bytes.len();
                let mut buffer = bytes.into_vec();
                buffer.resize(len + PADDING, 0);
                match vnet {
                    Some(vnet) => self.handle_offloaded(&vnet, &mut buffer, len, now, out),
                    None => self.handle_packet(&mut buffer, len, now, out),
                }
            }
            What::Datagram { from, ecn, bytes } => {
                self.handle_datagram(from, ecn, &bytes, now, out);
            }
            What::Initiation { from, bytes } => self.put_off(from, bytes),
        }
    }

    /// How much was handed over to other shards.
    #[must_use]
    pub fn handed_over(&self) -> u64 {
        self.handed_over
    }

    pub(crate) fn hand_over(&mut self, to: ShardId, what: What, out: &mut Output) {
        self.handed_over += 1;
        out.handovers.push(Handover { to, what });
    }
}
