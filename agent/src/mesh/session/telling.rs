//! What the control plane is told: where this node is, what it has put in force, its keys, its flows.

use std::borrow::Cow;
use std::num::NonZeroU16;
use std::time::Duration;

use engine::{KeyChange, Timestamp};
use paths::Rule;
use proto::control::{Applied, Netmap, Region, Report};

use super::{Mesh, unix_now};
use crate::io::clock;
use crate::mesh::control::Order;
use crate::mesh::mapping::MappingReport;

/// How long relays may take to say whether there is a NAT at all.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

impl Mesh {
    /// The host's addresses may be others.
    pub(super) async fn look_around(&mut self) {
        let before = self.interface.local.clone();
        self.interface.look_around().await;
        if before != self.interface.local {
            tracing::info!("the network of the host is another");
            let now = clock::now();
            self.whereabouts.start_over(now);
            self.mapper.start_over();
            self.nat64.look(&self.interface.local.networks);
            self.tell_paths();
            let changes = self.paths.start_over(now);
            self.change_paths(changes).await;
            self.walk_paths().await;
            self.plan_links().await;
            self.names.look_around().await;
            self.line.wake.notify_one();
        }
        self.gather().await;
    }

    /// Finds where this node can be reached, and says so if it is news.
    pub(super) async fn gather(&mut self) {
        let port = self.node.lock().await.port();
        let rule = self.keys.settings().path;
        if self.whereabouts.gather(&self.interface.local.networks, port, rule) {
            self.tell_paths();
            let endpoints = Some(self.whereabouts.endpoints().to_vec());
            self.report(Report { endpoints, ..Report::default() }).await;
        }
    }

    /// Has the router asked for a mapping, where there is something between this node and the world.
    pub(super) async fn ask_router(&mut self, now: Timestamp) {
        let settings = self.keys.settings();
        let may = !settings.no_port_mapping && settings.path != Rule::Relay;
        let open = self.whereabouts.is_open();
        let is_known = open.is_some() || now - self.whereabouts.since() >= SEEN_WITHIN;
        if may && !is_known {
            return;
        }
        let wanted = may && open != Some(true) && self.netmap.get().is_some();
        let port = self.node.lock().await.port();
        self.mapper.want(NonZeroU16::new(port).filter(|_| wanted));
        if self.paths.is_awake(now) {
            self.mapper.need();
        }
    }

    /// How it stands with the mapping, and why it is not asked for.
    pub(super) fn mapping_report(&self) -> MappingReport {
        let mut report = self.mapper.report();
        let settings = self.keys.settings();
        let off = match settings.path {
            _ if settings.no_port_mapping => Some("nearwire up --no-port-mapping"),
            Rule::Relay => Some("this node uses relays only (--path relay)"),
            Rule::Any | Rule::Direct => None,
        };
        if let Some(why) = off {
            (report.state, report.reason) = ("off".to_owned(), Some(why.to_owned()));
        } else if report.state == "unasked" && self.whereabouts.is_open() == Some(true) {
            report.reason = Some("the world sees this host as it is".to_owned());
        }
        report
    }

    /// The router has granted a mapping, or not.
    pub(super) async fn take_mapping(&mut self) {
        let mapped = self.mapper.external();
        if self.whereabouts.mapped != mapped {
            self.whereabouts.mapped = mapped;
            self.gather().await;
            self.tell_paths();
            self.walk_paths().await;
        }
    }

    /// The host reaches hosts of IPv4 otherwise.
    pub(super) async fn take_nat64(&mut self) {
        let prefix = self.nat64.prefix;
        tracing::info!(prefix = prefix.map(|p| p.to_string()), "the way to IPv4 is another");
        self.paths.set_nat64(prefix);
        self.whereabouts.start_over(clock::now());
        self.ask_relays().await;
        self.plan_links().await;
        self.set_paths().await;
    }

    /// The relays, as this host reaches them.
    pub(super) fn regions<'a>(&self, netmap: &'a Netmap) -> Cow<'a, [Region]> {
        let regions = &netmap.regions;
        self.nat64.prefix.map_or(regions.into(), |prefix| prefix.regions(regions).into())
    }

    pub(super) fn applied(&self) -> Option<Applied> {
        let revision = self.netmap.get()?.revision;
        Some(Applied { revision, generation: self.interface.generation.0.into() })
    }

    pub(super) async fn report_all(&mut self) {
        self.interface.look_around().await;
        self.gather().await;
        self.report(Report {
            endpoints: Some(self.whereabouts.endpoints().to_vec()),
            disco: Some(self.paths.probe_key()),
            home: self.links.region(),
            relay: Some(self.peer_relay.offer().clone()),
            routes: Some(self.keys.settings().offers()),
            applied: self.applied(),
            ..Report::default()
        })
        .await;
        self.turn_keys().await;
    }

    pub(super) async fn report(&self, report: Report) {
        // A line that has ended is made anew, and then all is reported.
        let _ = self.line.orders.send(Order::Report(Box::new(report))).await;
    }

    pub(super) fn ask_rotation(&mut self) -> Result<(), String> {
        if !self.is_connected() {
            let why = "keys change only while the control plane is there to tell others";
            return Err(why.to_owned());
        }
        self.keys.ask();
        Ok(())
    }

    pub(super) async fn turn_keys(&mut self) {
        let Some(netmap) = self.netmap.get().filter(|_| self.is_connected()) else { return };
        let Some(turn) = self.keys.turn(netmap, unix_now(), clock::now()) else { return };
        if let Some(own) = turn.own {
            self.interface.change_keys(vec![KeyChange::Own(own)]).await;
            self.plan_links().await;
        }
        self.report(turn.report).await;
    }

    /// One batch: what is more waits for its turn, so that a flood is no flood of reports.
    pub(super) async fn tell_flows(&mut self) {
        if self.is_connected() {
            let flows = self.flows.batch();
            if !flows.is_empty() {
                self.report(Report { flows, ..Report::default() }).await;
            }
        }
    }

    pub(super) async fn renew_node_key(&mut self) {
        let Some(netmap) = self.netmap.get().filter(|_| self.is_connected()) else { return };
        if let Some(key) = self.keys.renewal(netmap, unix_now(), clock::now()) {
            // A line that has ended tries it when it is made anew.
            let _ = self.line.orders.send(Order::Renew(key)).await;
        }
    }
}
