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
            let socket = Udp::open(at, "stun-other").with_context(|| {
                format!(
                    "`stun-other` needs {} to be an address of this host, and its port {} to be free",
                    at.ip(),
                    at.port()
                )
            })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_the_hosts_is_named() {
        let [lanes, other] = ["127.0.0.1:40001", "192.0.2.77:0"].map(|at| at.parse().unwrap());
        let pair = StunPair::new(lanes, other).unwrap();
        let error = format!("{:#}", StunSockets::open(&[pair], lanes).err().unwrap());
        assert!(error.contains("needs 192.0.2.77 to be an address of this host"), "{error}");
        assert!(error.contains("listening on 192.0.2.77:40001 (`stun-other`)"), "{error}");
    }
}
