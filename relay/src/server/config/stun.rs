//! The second addresses for STUN.

use std::net::SocketAddr;

use anyhow::{Result, anyhow, ensure};

use super::Options;
use crate::core::StunPair;

impl Options {
    /// Each with the address of lanes of its family.
    pub(super) fn stun(&self, lane_addresses: &[SocketAddr]) -> Result<Vec<StunPair>> {
        let name = |key| self.lines.name(key);
        let others = self.stun_other.as_deref().unwrap_or_default();
        let mut pairs: Vec<StunPair> = Vec::new();
        for &other in others {
            let lanes = self.lanes.ok_or_else(|| {
                anyhow!(
                    "{} is set but `lanes` is not: say where lanes are taken",
                    name("stun-other")
                )
            })?;
            let own = [lanes];
            // Who listens at all addresses answers at those that clients are told.
            let firsts = if lanes.ip().is_unspecified() { lane_addresses } else { &own[..] };
            let family = if other.is_ipv4() { "IPv4" } else { "IPv6" };
            let fits = |first: &&SocketAddr| {
                first.is_ipv4() == other.is_ipv4()
                    && first.ip() != other.ip()
                    && first.port() == lanes.port()
            };
            let first = firsts.iter().find(fits).ok_or_else(|| {
                anyhow!(
                    "{} has {other}, and lanes are at no other {family} address of this host with \
                     the port of `lanes`: name it in `lane-addresses`, or take out this one",
                    name("stun-other")
                )
            })?;
            ensure!(
                first.port() != 0 && other.port() != 0 && !other.ip().is_unspecified(),
                "{} has {other} beside lanes at {first}: both need an address and a port",
                name("stun-other")
            );
            let pair = StunPair::new(*first, other).ok_or_else(|| {
                anyhow!(
                    "{} has {other}, with the port of lanes: say another, as {}",
                    name("stun-other"),
                    SocketAddr::new(other.ip(), first.port() ^ 1)
                )
            })?;
            ensure!(
                pairs.iter().all(|pair| pair.other().is_ipv4() != other.is_ipv4()),
                "{} has two addresses of {family}: take out one",
                name("stun-other")
            );
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
