//! Two hosts and a tunnel between them; the second host enforces.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use netns_tests::wireguard::{Implementation, OUTER_A, OUTER_B, PeerSettings, Tunnel};
use netns_tests::{Host, Lab};

use super::dialects;
use super::filters::Filter;
use super::rules::{HERE, Rules, SOURCES, THERE};
use super::samples::NEARWIRE;
use crate::bench::scratch::Scratch;
use crate::bench::{cpu_time, iperf};

const PATIENCE: Duration = Duration::from_secs(10);

/// Who enforces the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Nobody: what the tunnel does without a policy.
    Nobody,
    /// Nearwire's policy on the tunnel.
    Nearwire,
    /// A filter behind the tunnel, which has no policy itself.
    Netfilter(Filter),
}

impl Guard {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "no policy",
            Self::Nearwire => NEARWIRE,
            Self::Netfilter(filter) => filter.name(),
        }
    }
}

/// Both ends of a tunnel.
pub(super) struct Ends<'h> {
    pub(super) a: &'h Host,
    pub(super) b: &'h Host,
    pub(super) tunnel_a: Tunnel<'h>,
    pub(super) tunnel_b: Tunnel<'h>,
}

/// Two hosts on a veth of their own.
pub(super) fn hosts() -> Result<[Host; 2]> {
    netns_tests::wireguard::wired_hosts(&Lab::new("policy")?)
}

impl<'h> Ends<'h> {
    /// Raises a tunnel whose second end is guarded.
    pub(super) fn raise(
        hosts: &'h [Host; 2],
        nearwire: &Path,
        guard: Guard,
        rules: &Rules,
    ) -> Result<Self> {
        let scratch = Scratch::new()?;
        let policy = match guard {
            Guard::Nearwire => Some(scratch.file("policy", &dialects::nearwire(rules, ""))?),
            _ => None,
        };
        let ends = Self::connect(hosts, nearwire, policy.as_deref())?;
        if let Guard::Netfilter(filter) = guard {
            filter.enforce(ends.b, ends.tunnel_b.name(), rules)?;
        }
        Ok(ends)
    }

    /// Raises a tunnel whose second end enforces a document, if there is one.
    pub(super) fn connect(
        [a, b]: &'h [Host; 2],
        nearwire: &Path,
        policy: Option<&Path>,
    ) -> Result<Self> {
        let builder = || Tunnel::builder(Implementation::Nearwire).program(nearwire);
        let tunnel_a = builder().start(a)?;
        let tunnel_b = match policy {
            Some(file) => builder().arg("--policy").arg(file).start(b)?,
            None => builder().start(b)?,
        };
        tunnel_a.configure(&[&format!("{THERE}/24")])?;
        tunnel_b.configure(&[&format!("{HERE}/24")])?;
        // Every source of a rule is an address of the first host.
        a.ip(["route", "add", "local", SOURCES, "dev", "lo"])?;
        b.ip(["route", "add", SOURCES, "dev", tunnel_b.name()])?;
        let peer = |endpoint: &str, allowed_ips| -> Result<PeerSettings<'_>> {
            let endpoint: IpAddr = endpoint.parse()?;
            Ok(PeerSettings { allowed_ips, endpoint: Some(endpoint), ..PeerSettings::default() })
        };
        let allowed = format!("{THERE}/32,{SOURCES}");
        tunnel_b.add_peer(&tunnel_a, &peer(OUTER_A[0], &allowed)?)?;
        // Keepalives begin a session: a policy may allow nothing else that would.
        let allowed = format!("{HERE}/32");
        let keepalive = PeerSettings { keepalive: 10, ..peer(OUTER_B[0], &allowed)? };
        tunnel_a.add_peer(&tunnel_b, &keepalive)?;
        let shaken = |peer: &netns_tests::wireguard::PeerStatus| peer.latest_handshake > 0;
        tunnel_a.wait_for_peer(&tunnel_b, PATIENCE, "a handshake", shaken)?;
        Ok(Self { a, b, tunnel_a, tunnel_b })
    }

    /// User and system time of both tunnels so far.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        Ok(cpu_time::of(&self.tunnel_a)? + cpu_time::of(&self.tunnel_b)?)
    }

    /// From the first host to the second.
    pub(super) fn path(&self) -> iperf::Path<'_> {
        iperf::Path { from: self.a, to: self.b, at: HERE }
    }
}
