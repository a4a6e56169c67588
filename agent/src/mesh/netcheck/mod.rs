//! What is known of the host's network, and what is found out when somebody asks.

mod ask;
mod behaviour;
mod hairpin;
mod portal;

use std::net::{IpAddr, SocketAddr};

use engine::Timestamp;
use proto::control::Netmap;
use serde::{Deserialize, Serialize};

use super::mapping::MappingReport;
use super::reflexive::STUN_PORT;
use super::whereabouts::Whereabouts;
use crate::wg::SharedNode;
use behaviour::{Behaviour, Dependence};
pub(super) use hairpin::Awaited;
use hairpin::{Check, Hairpin};
use portal::Portal;

/// The whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct NetReport {
    /// Whether a relay has answered by UDP.
    pub(crate) udp: bool,
    pub(crate) v4: bool,
    pub(crate) v6: bool,
    /// `none`, `easy` (one port for all), `hard` (another for each destination) or `unknown`.
    pub(crate) nat: String,
    /// For whom the NAT has another port outside, in the words of RFC 5780: `none` (no NAT),
    /// `endpoint-independent`, `address-dependent`, `address-and-port-dependent` or `unknown`.
    #[serde(default)]
    pub(crate) nat_mapping: String,
    /// Whom the NAT lets in, in the same words; `closed` if it is known only that there are some whom it
    /// does not. Unknown without a relay that has a second address, and without the way back.
    #[serde(default)]
    pub(crate) filtering: String,
    /// Whether the router brings back what is sent to this node's address outside: `yes`, `no`, `unknown`
    /// or `unneeded`.
    #[serde(default)]
    pub(crate) hairpin: String,
    /// The prefix by which a host without IPv4 reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nat64: Option<String>,
    /// `connected`, or why not.
    #[serde(default)]
    pub(crate) control: String,
    /// Whether something stands between that wants a log-in first: `no`, `yes` or `unknown`.
    #[serde(default)]
    pub(crate) captive_portal: String,
    /// Where it sends people to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) portal_url: Option<String>,
    /// Whether the router lets peers in.
    #[serde(default)]
    pub(crate) mapping: MappingReport,
    /// Where relays see the WireGuard port.
    pub(crate) seen: Vec<SocketAddr>,
    /// Where peers are told to try.
    pub(crate) endpoints: Vec<SocketAddr>,
    pub(crate) regions: Vec<RegionReport>,
}

/// How far a region is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RegionReport {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rtt_ms: Option<f64>,
}

impl NetReport {
    pub(super) fn new(
        whereabouts: &Whereabouts,
        netmap: Option<&Netmap>,
        mapping: MappingReport,
        now: Timestamp,
    ) -> Self {
        let seen = whereabouts.seen();
        let endpoints = whereabouts.endpoints().to_vec();
        let regions = netmap.iter().flat_map(|netmap| &netmap.regions).map(|region| {
            let time = whereabouts.distance(region.id, now);
            let rtt_ms = time.map(|time| time.as_secs_f64() * 1000.0);
            RegionReport { name: region.name.clone(), rtt_ms }
        });
        let regions = regions.collect();
        let nat = match whereabouts.is_hard() {
            _ if whereabouts.is_open() == Some(true) => "none",
            Some(true) => "hard",
            Some(false) => "easy",
            None => "unknown",
        };
        Self {
            udp: !seen.is_empty(),
            v4: seen.iter().any(SocketAddr::is_ipv4),
            v6: seen.iter().any(SocketAddr::is_ipv6),
            nat: nat.to_owned(),
            mapping,
            seen,
            endpoints,
            regions,
            ..Self::default()
        }
    }

    /// Says what the router does, by what was found out.
    fn judge(&mut self, hairpin: Hairpin, behaviour: Behaviour) {
        let no_nat = self.nat == "none";
        // Several relays may have shown it already.
        if self.nat == "unknown"
            && let Some(mapping) = behaviour.mapping
        {
            self.nat = if mapping == Dependence::Nothing { "easy" } else { "hard" }.to_owned();
        }
        self.nat_mapping = match behaviour.mapping {
            _ if no_nat => "none",
            Some(mapping) => mapping.name(),
            None if self.nat == "easy" => Dependence::Nothing.name(),
            None => "unknown",
        }
        .to_owned();
        self.hairpin = match hairpin.back {
            _ if no_nat => "unneeded",
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        }
        .to_owned();
        self.filtering = match (behaviour.filtering, hairpin.open) {
            _ if no_nat => "none",
            (Some(filtering), _) => filtering.name(),
            // A mapping lets everybody in; that says nothing of the rest.
            _ if self.mapping.external.is_some() => "unknown",
            (None, Some(true)) => Dependence::Nothing.name(),
            (None, Some(false)) => "closed",
            (None, None) => "unknown",
        }
        .to_owned();
    }
}

/// What is to be found out.
pub(super) struct Checks {
    report: NetReport,
    hairpin: Option<Check>,
    /// A relay with a second address.
    two_addresses: Option<SocketAddr>,
    /// Why the control plane is not there, if it is not.
    away: Option<String>,
    /// Its host.
    control: Option<String>,
}

impl Checks {
    /// Beside what is known; `away` says why the control plane is not there, if it is not, `control` is
    /// its host, and `two_addresses` a relay that has them.
    pub(super) fn new(
        report: NetReport,
        netmap: Option<&Netmap>,
        away: Option<String>,
        control: Option<String>,
        two_addresses: Option<SocketAddr>,
        awaited: &mut Awaited,
    ) -> Self {
        let seen = report.seen.iter().copied().find(SocketAddr::is_ipv4);
        // A hard NAT has another address for each.
        let outside = report.mapping.external.or(seen.filter(|_| report.nat == "easy"));
        let regions = netmap.iter().flat_map(|netmap| &netmap.regions);
        let relays = regions.flat_map(|region| &region.relays).flat_map(|relay| &relay.addresses);
        let relay = relays.copied().find(IpAddr::is_ipv4);
        let relay = relay.map(|relay| SocketAddr::from((relay, STUN_PORT)));
        let hairpin =
            outside.zip(relay).map(|(outside, relay)| Check::new(outside, relay, awaited));
        // Without a NAT there is nothing to find out.
        let two_addresses = two_addresses.filter(|_| report.nat != "none");
        Self { report, hairpin, two_addresses, away, control }
    }

    /// Finds it out: some seconds.
    pub(super) async fn run(self, node: SharedNode) -> NetReport {
        let Self { mut report, hairpin, two_addresses, away, control } = self;
        let hairpin = async {
            match hairpin {
                Some(check) => check.run(node).await,
                None => Hairpin::default(),
            }
        };
        let behaviour = async {
            match two_addresses {
                Some(server) => behaviour::find(server).await,
                None => Behaviour::default(),
            }
        };
        let portal = async {
            match (&away, &control) {
                (None, _) => Portal::No,
                (Some(_), Some(host)) => portal::look(host).await,
                (Some(_), None) => Portal::Unknown,
            }
        };
        let (hairpin, behaviour, portal) = tokio::join!(hairpin, behaviour, portal);
        report.judge(hairpin, behaviour);
        report.control = away.unwrap_or_else(|| "connected".to_owned());
        (report.captive_portal, report.portal_url) = match portal {
            Portal::No => ("no".to_owned(), None),
            Portal::Yes(url) => ("yes".to_owned(), url),
            Portal::Unknown => ("unknown".to_owned(), None),
        };
        report
    }
}
