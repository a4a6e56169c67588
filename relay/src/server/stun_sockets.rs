//! The sockets of STUN's second addresses. Where they and the port of lanes cross, the socket of
//! lanes may be listening already.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::udp::Udp;
use crate::core::StunPair;

/// Sockets at most: of each family the places of a pair, but for that of lanes.
pub(super) const MOST: usize = 2 * 3;

/// See the module.
#[derive(Default)]
pub(super) struct StunSockets(Vec<(SocketAddr, Udp)>);

impl StunSockets {
    /// Opens what the lanes' socket, bound to this address, does not have.
    pub(super) fn open(pairs: &[StunPair], lanes: SocketAddr) -> Result<Self> {
        let mut sockets = Vec::new();
        for at in pairs.iter().flat_map(StunPair::places) {
            let everywhere = lanes.ip().is_unspecified() && at.port() == lanes.port();
            if everywhere || at == lanes {
                continue;
            }
            let socket = Udp::open(at, "stun-other").context(
                "STUN needs a second address of this host's own, free at the ports of both, and so \
                 is the one of lanes to be",
            )?;
            sockets.push((at, socket));
        }
        Ok(Self(sockets))
    }

    pub(super) fn all(&self) -> &[(SocketAddr, Udp)] {
        &self.0
    }

    /// The one that is bound to this address.
    pub(super) fn at(&self, address: SocketAddr) -> Option<&Udp> {
        self.0.iter().find(|(at, _)| *at == address).map(|(_, socket)| socket)
    }
}
