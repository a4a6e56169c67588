//! The names of one network on one host, from the first netmap to the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use ipnet::IpNet;
use proto::control::Netmap;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::core::{Plan, Routes, Zone};
use crate::host::{Host, Interface, Mode, Paths, Wanted, restore};
use crate::server::{Counts, Server};

/// How often a file is looked at that others may write.
const LOOK_AT_FILE: Duration = Duration::from_secs(2);
/// How often a program is asked that keeps such a file.
const ASK_PROGRAM: Duration = Duration::from_secs(20);

/// How names are to be had on a host.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to answer, usually [`crate::ADDRESS`].
    pub address: SocketAddr,
    /// The interface that has this address.
    pub interface: Interface,
    /// Where the host's configuration is.
    pub paths: Paths,
    /// Who is answered beside the host itself: its containers, say.
    pub also: Vec<IpNet>,
}

/// How names are had now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// By what the host is told.
    pub mode: Mode,
    /// Where it asks.
    pub address: SocketAddr,
    /// The domain of the mesh; none while there is no mesh.
    pub domain: Option<String>,
    /// Whom the host would ask without us.
    pub upstreams: Vec<SocketAddr>,
    /// What is wrong, if anything is.
    pub trouble: Option<String>,
}

enum Order {
    Update { zone: Box<Zone>, forward: BTreeMap<String, Vec<SocketAddr>>, done: Done },
    Look { done: Done },
    Stop { done: Done },
}

type Done = oneshot::Sender<Result<()>>;

/// The names of the mesh on this host. Dropping it ends it as [`Names::stop`] does, without waiting.
#[derive(Debug)]
pub struct Names {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Status>,
    counts: watch::Receiver<Counts>,
}

impl Names {
    /// Undoes what one before has left, and listens. The host is told with the first
    /// [`Names::update`].
    pub async fn start(settings: Settings) -> Result<Self> {
        let Settings { address, interface, paths, also } = settings;
        match restore(&paths).await {
            Ok(None) => {}
            Ok(Some(mode)) => {
                tracing::warn!(?mode, "a resolver ended without undoing what it told the host");
            }
            // What it told to one that is gone is gone too.
            Err(error) => tracing::warn!("undoing what a resolver has left: {error:#}"),
        }
        let server = Server::bind(address, also).await?;
        let host = Host::find(paths.clone(), interface).await?;
        let upstreams = host.upstreams().await?;
        let address = server.address();
        let now = Status { mode: host.mode(), address, domain: None, upstreams, trouble: None };
        let (status, read) = watch::channel(now);
        let (orders, inbox) = mpsc::channel(4);
        let (count, counts) = watch::channel(Counts::default());
        let keeper = Keeper {
            server,
            host,
            paths,
            zone: Zone::default(),
            forward: BTreeMap::new(),
            wanted: None,
            status,
            count,
        };
        tokio::spawn(keeper.run(inbox));
        Ok(Self { orders, status: read, counts })
    }

    /// Takes over what a netmap says of names. When this returns, they are answered; if the host cannot
    /// be told, that is the error.
    pub async fn update(&self, netmap: &Netmap) -> Result<()> {
        let (zone, bad) = Zone::of(netmap);
        for name in bad {
            tracing::warn!("a node or network is not called by its name here: {name}");
        }
        let forward = netmap.dns.forward.clone();
        self.order(|done| Order::Update { zone: Box::new(zone), forward, done }).await
    }

    /// Looks at once whether the host's own configuration has changed, as after a change of network; it
    /// is looked at every few seconds anyway.
    pub async fn look(&self) -> Result<()> {
        self.order(|done| Order::Look { done }).await
    }

    /// How names are had now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// What the resolver has done, as of a few seconds ago at most.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Gives the host back its own configuration, and ends.
    pub async fn stop(self) -> Result<()> {
        self.order(|done| Order::Stop { done }).await
    }

    async fn order(&self, order: impl FnOnce(Done) -> Order) -> Result<()> {
        let ended = || anyhow!("the resolver has ended");
        let (done, answer) = oneshot::channel();
        self.orders.send(order(done)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// The one owner of the server and of what the host is told.
struct Keeper {
    server: Server,
    host: Host,
    paths: Paths,
    zone: Zone,
    forward: BTreeMap<String, Vec<SocketAddr>>,
    /// What the host was told last.
    wanted: Option<Wanted>,
    status: watch::Sender<Status>,
    count: watch::Sender<Counts>,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        let mut look = interval(match self.host.mode() {
            Mode::File | Mode::Resolved => LOOK_AT_FILE,
            Mode::Openresolv | Mode::Resolvconf => ASK_PROGRAM,
        });
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let order = tokio::select! {
                order = inbox.recv() => order,
                _ = look.tick() => {
                    // It is said in the status and in the log.
                    let _ = self.look().await;
                    continue;
                }
            };
            match order {
                Some(Order::Update { zone, forward, done }) => {
                    (self.zone, self.forward) = (*zone, forward);
                    let _ = done.send(self.update().await);
                }
                Some(Order::Look { done }) => drop(done.send(self.look().await)),
                Some(Order::Stop { done }) => {
                    let _ = done.send(restore(&self.paths).await.map(drop));
                    return;
                }
                None => {
                    if let Err(error) = restore(&self.paths).await {
                        tracing::error!("the host's names are not as they were: {error:#}");
                    }
                    return;
                }
            }
        }
    }

    /// Answers by the newest names, and tells the host if it is to ask otherwise.
    async fn update(&mut self) -> Result<()> {
        self.count.send_replace(self.server.counts());
        let told = async {
            self.plan(self.host.upstreams().await?);
            let wanted = self.wanted();
            if self.wanted == wanted {
                return Ok(());
            }
            match &wanted {
                Some(wanted) => self.host.apply(wanted).await?,
                None => restore(&self.paths).await.map(drop)?,
            }
            self.wanted = wanted;
            Ok(())
        };
        let told = told.await;
        self.say(&told);
        told
    }

    /// Sees to it that the host still asks us, and that we ask whom it would.
    async fn look(&mut self) -> Result<()> {
        self.count.send_replace(self.server.counts());
        let looked = async {
            let upstreams = self.host.upstreams().await?;
            if let Some(wanted) = &self.wanted
                && self.host.is_overwritten(wanted)?
            {
                tracing::info!("somebody else has written the host's resolv.conf; adding to it");
                self.host.apply(wanted).await?;
            }
            if self.status.borrow().upstreams != upstreams {
                self.plan(upstreams);
            }
            Ok(())
        };
        let looked = looked.await;
        self.say(&looked);
        looked
    }

    fn plan(&self, upstreams: Vec<SocketAddr>) {
        let own = [self.server.address()];
        let (routes, bad) = Routes::new(&self.forward, &upstreams, &own);
        for domain in bad {
            tracing::warn!("nobody is asked for a domain: {domain}");
        }
        self.server.set(Plan { zone: self.zone.clone(), routes });
        self.status.send_if_modified(|status| {
            let changed = status.upstreams != upstreams;
            status.upstreams = upstreams;
            changed
        });
    }

    /// What the host is to be told; nothing without a mesh.
    fn wanted(&self) -> Option<Wanted> {
        let plain = |name: &hickory_proto::rr::Name| {
            name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
        };
        let domain = plain(self.zone.domain()?);
        let named = self.forward.keys().map(|domain| domain.trim_end_matches('.'));
        let all = named.clone().any(str::is_empty);
        let reverse = self.zone.reverse_domains();
        let mut domains: Vec<String> = reverse.iter().map(plain).collect();
        domains.extend(named.filter(|name| !name.is_empty()).map(str::to_owned));
        let nameserver = self.server.address().ip();
        Some(Wanted { nameserver, domain: Some(domain), domains, all })
    }

    fn say(&self, result: &Result<()>) {
        let trouble = result.as_ref().err().map(|error| format!("{error:#}"));
        let domain = self.wanted.as_ref().and_then(|wanted| wanted.domain.clone());
        self.status.send_if_modified(|status| {
            let changed = (&status.trouble, &status.domain) != (&trouble, &domain);
            if let Some(trouble) = trouble.as_ref().filter(|_| status.trouble != trouble) {
                tracing::warn!("names of the mesh: {trouble}");
            }
            (status.trouble, status.domain) = (trouble, domain);
            changed
        });
    }
}
