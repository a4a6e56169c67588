//! No two sockets have one port.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};

use super::{ANY, Options};
use crate::core::StunPair;

impl Options {
    /// Whether all of them can be had side by side.
    pub(super) fn ports(&self, stun: &[StunPair]) -> Result<()> {
        let at = |key, address: Option<SocketAddr>| address.map(|address| (key, address));
        let second = stun.iter().flat_map(StunPair::places).map(|place| ("stun-other", place));
        let udp = [
            at("quic", Some(self.quic.unwrap_or(ANY))),
            at("lanes", self.lanes),
            at("mesh", self.mesh),
        ];
        let tcp = [at("tls", Some(self.tls.unwrap_or(ANY))), at("admin", self.admin)];
        self.apart(udp.into_iter().flatten())?;
        self.apart(tcp.into_iter().flatten())?;
        // They and lanes may share, and are not in each other's way.
        let others = udp.into_iter().flatten().filter(|(key, _)| *key != "lanes");
        for (one, other) in others.flat_map(|one| second.clone().map(move |other| (one, other))) {
            self.apart([one, other].into_iter())?;
        }
        Ok(())
    }

    fn apart(&self, all: impl Iterator<Item = (&'static str, SocketAddr)> + Clone) -> Result<()> {
        for (place, (key, address)) in all.clone().enumerate() {
            for (other, taken) in all.clone().take(place) {
                ensure!(
                    !overlap(address, taken),
                    "{} would listen on {address}, which is `{other}`'s by {taken}: say another port",
                    self.lines.name(key)
                );
            }
        }
        Ok(())
    }
}

/// Whether the kernel would refuse the second: all sockets for `[::]` take IPv4 too.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |one: SocketAddr, other: SocketAddr| match one.ip().to_canonical() {
        IpAddr::V6(ip) if ip.is_unspecified() => true,
        IpAddr::V4(ip) if ip.is_unspecified() => other.ip().to_canonical().is_ipv4(),
        ip => ip == other.ip().to_canonical(),
    };
    one.port() == other.port() && one.port() != 0 && (takes(one, other) || takes(other, one))
}
