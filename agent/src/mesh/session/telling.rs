//! What the control plane is told: where this node is, what it has put in force, its keys, its flows.

use engine::KeyChange;
use proto::control::{Applied, Report};

use super::{Mesh, unix_now};
use crate::io::clock;
use crate::mesh::control::Order;

impl Mesh {
    /// The host's addresses may be others.
    pub(super) async fn look_around(&mut self) {
        let before = self.interface.local.clone();
        self.interface.look_around().await;
        if before != self.interface.local {
            tracing::info!("the network of the host is another");
            let now = clock::now();
            self.whereabouts.start_over(now);
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
