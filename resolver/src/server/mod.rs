//! The resolver's sockets: what comes in is judged, answered, or asked elsewhere.

mod ask;
mod forward;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use serde::Serialize;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::core::{LONGEST_QUERY, Plan, Verdict, Way, judge};
use forward::Forwarder;

/// Why the resolver cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else does.
    #[error(
        "port {} of {} is taken: a resolver on this host listens on all addresses; have it listen on its own only (dnsmasq: bind-interfaces)",
        .0.port(), .0.ip()
    )]
    Taken(SocketAddr),
    /// The host has no such address.
    #[error("no interface of this host has the address {0}: it has to be there first")]
    NoAddress(IpAddr),
    /// Anything else.
    #[error("cannot listen on {0}: {1}")]
    Other(SocketAddr, io::Error),
}

/// What the resolver has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Queries answered from the mesh's own names, or refused.
    pub answered: u64,
    /// Queries for which others were asked.
    pub forwarded: u64,
    /// Of them, those that nobody answered.
    pub failed: u64,
    /// Queries that came while too many were under way.
    pub overloaded: u64,
    /// What came from elsewhere than this host.
    pub strangers: u64,
}

#[derive(Debug, Default)]
struct Counters {
    answered: AtomicU64,
    forwarded: AtomicU64,
    failed: AtomicU64,
    overloaded: AtomicU64,
    strangers: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What all tasks of a server share.
#[derive(Debug)]
struct Shared {
    own: IpAddr,
    also: Vec<IpNet>,
    plan: watch::Receiver<Arc<Plan>>,
    forwarder: Forwarder,
    counters: Counters,
}

impl Shared {
    /// Whether somebody is of this host. The kernel lets nobody else send from its own addresses.
    fn serves(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        let serves = source.is_loopback()
            || source == self.own
            || self.also.iter().any(|network| network.contains(&source));
        if !serves {
            count(&self.counters.strangers);
        }
        serves
    }

    /// What is said to a query without asking anybody, or how to ask.
    fn judge(self: &Arc<Self>, query: &[u8], way: Way) -> Said {
        let plan = Arc::clone(&self.plan.borrow());
        match judge(&plan, query, way) {
            Verdict::Answer(answer) => {
                count(&self.counters.answered);
                Said::Now(answer)
            }
            Verdict::Ignore => Said::Nothing,
            Verdict::Forward { upstreams, expected, failure } => {
                count(&self.counters.forwarded);
                let Some(permit) = self.forwarder.permit() else {
                    count(&self.counters.overloaded);
                    return Said::Now(failure);
                };
                let (shared, query) = (Arc::clone(self), query.to_vec());
                Said::Later(Box::pin(async move {
                    let _permit = permit;
                    let asked = shared.forwarder.ask(query, way, &upstreams, expected).await;
                    asked.unwrap_or_else(|| {
                        count(&shared.counters.failed);
                        failure
                    })
                }))
            }
        }
    }
}

/// What becomes of a query.
enum Said {
    Nothing,
    Now(Vec<u8>),
    Later(futures_util::future::BoxFuture<'static, Vec<u8>>),
}

/// A resolver that listens. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    plan: watch::Sender<Arc<Plan>>,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Listens on UDP and TCP; serves this host and whoever is in `also`.
    pub async fn bind(address: SocketAddr, also: Vec<IpNet>) -> Result<Self, BindError> {
        let explain = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(address),
            io::ErrorKind::AddrNotAvailable => BindError::NoAddress(address.ip()),
            _ => BindError::Other(address, error),
        };
        let udp = UdpSocket::bind(address).await.map_err(explain)?;
        let address = udp.local_addr().map_err(explain)?;
        let tcp = TcpListener::bind(address).await.map_err(explain)?;
        let (sender, plan) = watch::channel(Arc::new(Plan::default()));
        let (own, counters) = (address.ip(), Counters::default());
        let forwarder = Forwarder::default();
        let shared = Arc::new(Shared { own, also, plan, forwarder, counters });
        let mut tasks = JoinSet::new();
        tasks.spawn(udp::serve(udp, Arc::clone(&shared)));
        tasks.spawn(tcp::serve(tcp, Arc::clone(&shared)));
        Ok(Self { address, plan: sender, shared, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes other names and ways from the next query on.
    pub fn set(&self, plan: Plan) {
        self.plan.send_replace(Arc::new(plan));
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            answered: read(&counters.answered),
            forwarded: read(&counters.forwarded),
            failed: read(&counters.failed),
            overloaded: read(&counters.overloaded),
            strangers: read(&counters.strangers),
        }
    }
}
