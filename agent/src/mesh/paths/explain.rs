//! Why a peer is reached as it is, as commands show it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use paths::{Allowed, Choice, Counters, Explained, Origin, Refusals};
use serde::{Deserialize, Serialize};

/// How it stands with the ways to a peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PathReport {
    /// `direct`, `peer-relay`, `relay` or `none`.
    pub(crate) path: String,
    /// Where packets go, if directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<SocketAddr>,
    /// For how many seconds.
    pub(crate) since: u64,
    /// How often it was another.
    pub(crate) changes: u32,
    /// Of a thousand packets on this way, those that are lost; not known without much traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lost_permille: Option<u32>,
    /// The longest packet that fits the way, in bytes; its sender is told of longer ones.
    #[serde(default)]
    pub(crate) fits: usize,
    /// How often the direct way in use is pinged while it is quiet, as was learnt, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keepalive_ms: Option<u64>,
    /// The shortest silence after which a NAT on it had forgotten it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lapsed_ms: Option<u64>,
    /// Whether there is traffic; without, nothing is tried.
    pub(crate) active: bool,
    /// The kinds that are allowed: `direct`, `peer-relay`, `relay`.
    #[serde(default)]
    pub(crate) allowed: Vec<String>,
    /// Who forbids the others, if any are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limited: Option<String>,
    /// Packets that were dropped, since there was no way that is allowed.
    #[serde(default)]
    pub(crate) stuck: u64,
    /// Every direct way, and those by peers that relay.
    pub(crate) routes: Vec<RouteReport>,
}

/// A way, and why it is used or not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RouteReport {
    /// Where the peer is; of a way by one that relays, where this host has that.
    pub(crate) to: SocketAddr,
    /// The peer that relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) relay: Option<String>,
    /// `mapped` by the peer's router, `told` by the control plane, `called` by the peer, `seen` from its
    /// pings, `guessed`; `peer_relay`.
    pub(crate) origin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) pings: u32,
    pub(crate) pongs: u32,
    pub(crate) verdict: String,
}

/// What is allowed only, and who says so, for people to read; nothing where everything is.
pub(crate) fn limited(allowed: Allowed) -> Option<String> {
    (!allowed.kinds().is_all()).then(|| allowed.to_string())
}

impl PathReport {
    pub(super) fn new(
        explained: &Explained,
        relay_at: impl Fn(SocketAddr) -> Option<String>,
    ) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let whole_ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let routes = explained.candidates.iter().map(|candidate| RouteReport {
            to: candidate.route.to,
            relay: relay_at(candidate.route.to),
            origin: candidate.origin.label().to_owned(),
            rtt_ms: candidate.rtt.map(ms),
            pings: candidate.pings,
            pongs: candidate.pongs,
            verdict: candidate.why.to_string(),
        });
        let path = match explained.choice {
            Choice::Nowhere => "none",
            Choice::Relay => "relay",
            Choice::Direct(route) if route.is_relayed() => "peer-relay",
            Choice::Direct(_) => "direct",
        };
        Self {
            path: path.to_owned(),
            endpoint: explained
                .choice
                .route()
                .filter(|route| !route.is_relayed())
                .map(|route| route.to),
            since: explained.since.as_secs(),
            changes: explained.changes,
            lost_permille: explained.lost,
            fits: explained.fits,
            keepalive_ms: explained.pause.map(whole_ms),
            lapsed_ms: explained.lapsed.map(whole_ms),
            active: explained.active,
            allowed: explained.allowed.kinds().iter().map(|kind| kind.label().to_owned()).collect(),
            limited: limited(explained.allowed),
            stuck: explained.stuck,
            routes: routes.collect(),
        }
    }
}

/// What was done to find ways so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PathCounts {
    /// Searches for direct ways.
    pub(crate) searches: u64,
    /// Calls by relays.
    pub(crate) calls: u64,
    pub(crate) pings: u64,
    /// Searches of a hard NAT's ports.
    pub(crate) birthdays: u64,
    /// Changes of ways.
    pub(crate) changes: u64,
    /// Direct ways that were taken, by how they became known.
    pub(crate) found: BTreeMap<String, u64>,
    /// Probes that were refused, by the reason.
    pub(crate) refused: BTreeMap<String, u64>,
}

impl PathCounts {
    pub(super) fn new(counters: &Counters, refusals: &Refusals) -> Self {
        let found = Origin::ALL.into_iter().zip(counters.found);
        Self {
            searches: counters.searches,
            calls: counters.calls,
            pings: counters.pings,
            birthdays: counters.birthdays,
            changes: counters.changes,
            found: found.map(|(origin, count)| (origin.label().to_owned(), count)).collect(),
            refused: refusals
                .iter()
                .map(|(refusal, count)| (refusal.label().to_owned(), count))
                .collect(),
        }
    }
}
