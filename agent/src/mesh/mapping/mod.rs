//! The WireGuard port on the router's outside: asked for by PCP, NAT-PMP or UPnP, renewed, asked for anew
//! when the network changes, and given back.

mod ask;
mod schedule;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::pcp::Nonce;
use engine::Timestamp;
use rand::rngs::OsRng;
use rand::{RngCore as _, TryRngCore as _};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::io::clock;
use crate::io::gateway::Gateway;
use ask::{Held, Method, Trouble, ask, give_back};
use schedule::Schedule;

/// What is told and waits to be heard; what finds no room is said again, or no news.
const TOLD: usize = 16;
/// How long it may take to give a mapping back.
const LEAVE: Duration = Duration::from_secs(3);

/// How it stands with the mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MappingReport {
    /// `granted`, `refused`, `none` (there is no router, or none that answers), `unasked` (not yet, or
    /// nothing stands before this host) or `off`.
    pub(crate) state: String,
    /// By what it is granted: `PCP`, `NAT-PMP` or `UPnP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    /// Where the world reaches the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) external: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) router: Option<IpAddr>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// How often the router was asked.
    pub(crate) asked: u64,
    /// How often it has granted or renewed, by the method.
    pub(crate) granted: BTreeMap<String, u64>,
}

/// What the node says to the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Want(Option<NonZeroU16>),
    OtherNetwork,
    Doubt,
    Need,
}

/// The end that the node holds.
pub(super) struct Mapper {
    tell: mpsc::Sender<Told>,
    report: watch::Receiver<MappingReport>,
    task: JoinHandle<()>,
    wanted: Option<NonZeroU16>,
}

impl Mapper {
    /// Asks for nothing yet.
    pub(super) fn start() -> Self {
        let (tell, told) = mpsc::channel(TOLD);
        let granted = Method::ALL.map(|method| (method.label().to_owned(), 0)).into();
        let first = MappingReport { state: "unasked".to_owned(), granted, ..Default::default() };
        let (said, report) = watch::channel(first);
        let mut rng = OsRng.unwrap_err();
        let nonce = [rng.next_u32(), rng.next_u32(), rng.next_u32()];
        let task = Task { said, nonce, port: None, held: None, schedule: Schedule::default() };
        Self { tell, report, task: tokio::spawn(task.run(told)), wanted: None }
    }

    /// A mapping of this port is wanted, or none.
    pub(super) fn want(&mut self, port: Option<NonZeroU16>) {
        if self.wanted != port && self.tell.try_send(Told::Want(port)).is_ok() {
            self.wanted = port;
        }
    }

    /// The host's network is another.
    pub(super) fn start_over(&self) {
        self.say(Told::OtherNetwork);
    }

    /// A way through the router has ended.
    pub(super) fn doubt(&self) {
        self.say(Told::Doubt);
    }

    /// Peers are to be reached; without a mapping it is time for one.
    pub(super) fn need(&self) {
        if self.external().is_none() {
            self.say(Told::Need);
        }
    }

    fn say(&self, told: Told) {
        if self.wanted.is_some() {
            // One that finds no room comes behind others like it.
            let _ = self.tell.try_send(told);
        }
    }

    pub(super) fn report(&self) -> MappingReport {
        self.report.borrow().clone()
    }

    /// Where the world reaches the port, if the router has granted that.
    pub(super) fn external(&self) -> Option<SocketAddr> {
        self.report.borrow().external
    }

    /// Waits until the report is another.
    pub(super) async fn changed(&mut self) {
        if self.report.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Gives the mapping back.
    pub(super) async fn stop(self) {
        drop(self.tell);
        // The router forgets it in time.
        let _ = timeout(LEAVE, self.task).await;
    }
}

struct Task {
    said: watch::Sender<MappingReport>,
    nonce: Nonce,
    port: Option<NonZeroU16>,
    held: Option<Held>,
    schedule: Schedule,
}

impl Task {
    async fn run(mut self, mut told: mpsc::Receiver<Told>) {
        loop {
            tokio::select! {
                told = told.recv() => match told {
                    Some(told) => self.hear(told).await,
                    None => break,
                },
                () = until(self.schedule.due()) => self.ask(&mut told).await,
            }
        }
        self.give_back().await;
    }

    async fn hear(&mut self, told: Told) {
        let now = clock::now();
        match told {
            Told::Want(port) => {
                self.give_back().await;
                self.port = port;
                if port.is_some() {
                    self.schedule.begin(now);
                } else {
                    self.schedule.end();
                    self.say(|report| report.state = "unasked".to_owned());
                }
            }
            Told::OtherNetwork => self.schedule.begin(now),
            Told::Doubt => self.schedule.doubt(now),
            Told::Need => self.schedule.need(now),
        }
    }

    /// Asks, unless the node ends or wants another thing meanwhile.
    async fn ask(&mut self, told: &mut mpsc::Receiver<Told>) {
        let Some(port) = self.port else { return };
        self.schedule.asks(clock::now());
        let (nonce, before) = (self.nonce, self.held.take());
        let asking = async {
            match Gateway::find().await {
                Ok(Some(gateway)) => ask(gateway, port, nonce, before).await,
                Ok(None) => Err(Trouble::NoRouter),
                Err(error) => {
                    tracing::warn!("the router cannot be found: {error:#}");
                    Err(Trouble::NoRouter)
                }
            }
        };
        tokio::pin!(asking);
        let answer = loop {
            tokio::select! {
                answer = &mut asking => break answer,
                told = told.recv() => match told {
                    None => return,
                    Some(told @ (Told::Want(_) | Told::OtherNetwork)) => {
                        return self.hear(told).await;
                    }
                    // It is being looked at.
                    Some(Told::Doubt | Told::Need) => {}
                },
            }
        };
        self.take(answer);
    }

    fn take(&mut self, answer: Result<Held, Trouble>) {
        let now = clock::now();
        match answer {
            Ok(held) => {
                let same = self.said.borrow().external == Some(held.external);
                self.schedule.granted(held.lifetime, same, now);
                let (method, external) = (held.method.label().to_owned(), held.external);
                self.say(|report| {
                    if report.external != Some(external) {
                        tracing::info!(%external, method, "the router has mapped the port");
                    }
                    report.asked += 1;
                    *report.granted.entry(method.clone()).or_default() += 1;
                    report.state = "granted".to_owned();
                    (report.method, report.external) = (Some(method), Some(external));
                    (report.router, report.reason) = (Some(held.from.router.into()), None);
                });
                self.held = Some(held);
            }
            Err(trouble) => {
                self.schedule.failed(now);
                let refused = matches!(trouble, Trouble::Refused(..));
                tracing::debug!(%trouble, "the port is not mapped");
                self.say(|report| {
                    report.asked += 1;
                    report.state = if refused { "refused" } else { "none" }.to_owned();
                    (report.method, report.external, report.router) = (None, None, None);
                    report.reason = Some(trouble.to_string());
                });
            }
        }
    }

    async fn give_back(&mut self) {
        if let Some(held) = self.held.take() {
            give_back(held).await;
        }
        self.say(|report| (report.method, report.external, report.router) = (None, None, None));
    }

    fn say(&self, change: impl FnOnce(&mut MappingReport)) {
        self.said.send_modify(change);
    }
}

async fn until(at: Option<Timestamp>) {
    match at {
        Some(at) => tokio::time::sleep(at - clock::now()).await,
        None => std::future::pending().await,
    }
}
