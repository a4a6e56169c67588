//! Two tunnels made peers of each other.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use crate::host::Host;
use crate::impaired::ImpairedLink;
use crate::lab::Lab;
use crate::wire::Impairment;

use super::keys::preshared_key;
use super::tunnel::{PeerSettings, Tunnel};

/// The addresses of the first host, outside.
pub const OUTER_A: [&str; 2] = ["10.0.0.1", "fd00::1"];
/// The addresses of the second host, outside.
pub const OUTER_B: [&str; 2] = ["10.0.0.2", "fd00::2"];
/// The addresses of the first tunnel, inside.
pub const INNER_A: [&str; 2] = ["10.9.0.1", "fd09::1"];
/// The addresses of the second tunnel, inside.
pub const INNER_B: [&str; 2] = ["10.9.0.2", "fd09::2"];

/// A peer that asks for sessions faster than this (50 a second) is not answered, and tries again
/// only after five seconds. Tests that make it begin anew at once pause for as long.
pub const INITIATION_INTERVAL: Duration = Duration::from_millis(25);

/// Two hosts on one veth, with [`OUTER_A`] and [`OUTER_B`].
///
/// # Errors
/// As [`Lab::host`].
pub fn wired_hosts(lab: &Lab) -> Result<[Host; 2]> {
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    lab.link(&a, &b)
        .at_a(&["10.0.0.1/24", "fd00::1/64"])
        .at_b(&["10.0.0.2/24", "fd00::2/64"])
        .veth()?;
    Ok([a, b])
}

/// As [`wired_hosts`], on a wire that can be made bad.
///
/// # Errors
/// As [`wired_hosts`].
pub fn impaired_hosts(
    lab: &Lab,
    impairment: Impairment,
    seed: u64,
) -> Result<([Host; 2], ImpairedLink)> {
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let link = lab
        .link(&a, &b)
        .at_a(&["10.0.0.1/24", "fd00::1/64"])
        .at_b(&["10.0.0.2/24", "fd00::2/64"])
        .impaired(impairment, seed)?;
    Ok(([a, b], link))
}

/// How two tunnels are to know each other. Name what differs from [`Pairing::to`] or
/// [`Pairing::NONE`].
#[derive(Clone, Copy, Debug)]
pub struct Pairing {
    /// The second host's address outside, where the first is told it.
    pub endpoint_b: Option<IpAddr>,
    /// The first host's address outside, where the second is told it.
    pub endpoint_a: Option<IpAddr>,
    /// Whether they share a key on top.
    pub preshared: bool,
    /// Seconds between keepalives of the first; 0 is never.
    pub keepalive_a: u16,
    /// Seconds between keepalives of the second; 0 is never.
    pub keepalive_b: u16,
}

impl Pairing {
    /// Neither knows where the other is.
    pub const NONE: Self = Self {
        endpoint_b: None,
        endpoint_a: None,
        preshared: false,
        keepalive_a: 0,
        keepalive_b: 0,
    };

    /// The first knows where the second is, and so has to begin.
    #[must_use]
    pub const fn to(endpoint_b: IpAddr) -> Self {
        Self { endpoint_b: Some(endpoint_b), ..Self::NONE }
    }

    /// Either knows where the other is, over IPv4.
    #[must_use]
    pub fn over_v4() -> Self {
        Self::over(0)
    }

    /// Either knows where the other is, over IPv6.
    #[must_use]
    pub fn over_v6() -> Self {
        Self::over(1)
    }

    fn over(family: usize) -> Self {
        Self {
            endpoint_a: OUTER_A[family].parse().ok(),
            endpoint_b: OUTER_B[family].parse().ok(),
            ..Self::NONE
        }
    }

    /// Configures both: keys, ports, [`INNER_A`] and [`INNER_B`], up, and the peers.
    ///
    /// # Errors
    /// When `wg` or `ip` refuses.
    pub fn connect(&self, a: &Tunnel<'_>, b: &Tunnel<'_>) -> Result<()> {
        let preshared = self.preshared.then(preshared_key).transpose()?;
        let ends = [
            (b, a, INNER_B, INNER_A, self.endpoint_a, self.keepalive_b),
            (a, b, INNER_A, INNER_B, self.endpoint_b, self.keepalive_a),
        ];
        for (tunnel, _, [v4, v6], ..) in ends {
            tunnel.configure(&[&format!("{v4}/24"), &format!("{v6}/64")])?;
        }
        for (tunnel, other, _, [v4, v6], endpoint, keepalive) in ends {
            let peer = PeerSettings {
                allowed_ips: &format!("{v4}/32,{v6}/128"),
                endpoint,
                preshared: preshared.as_deref(),
                keepalive,
            };
            tunnel.add_peer(other, &peer)?;
        }
        Ok(())
    }
}
