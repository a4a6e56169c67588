//! This node as a relay of its network: the server of `relay`, on a thread of its own, while the policy has
//! somebody to serve. It takes lanes and, for their control, TLS.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::Context as _;
use proto::control::{ControlKey, Netmap, RelayOffer};
use proto::key::PublicKey;
use relay::core::{ControlKeys, Members, Settings};
use relay::server::{Config, IdentitySource, Server, Summary, XdpChoice};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The name in the certificate; what counts is its hash.
pub(super) const RELAY_NAME: &str = "peer-relay.nearwire";
/// Those who are no clients any more are served for so long: they may not have heard of it yet.
const GRACE: Duration = Duration::from_secs(1);
/// How often is looked how it does, and after what time one that could not be started is tried again.
const LOOK: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(3);
/// Small: the host has other things to do.
const CLIENTS: usize = 256;
const LANES: usize = 1024;
const CLIENT_RATE: NonZeroU64 = NonZeroU64::new(125_000_000).unwrap();
const QUEUES: usize = 16 << 20;

/// What is to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    port: u16,
    keys: Vec<ControlKey>,
    members: Members,
    /// How many nodes these are: each has a key or two.
    granted: usize,
}

/// How it is, for people to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerRelayStatus {
    /// Its TCP port of TLS and UDP port of lanes.
    pub(crate) port: u16,
    /// Nodes that the policy lets it relay for.
    pub(crate) granted: usize,
    /// Those that are connected.
    pub(crate) clients: usize,
    pub(crate) lanes: usize,
    /// Ends of lanes that have proven an address: two of each that carries.
    #[serde(default)]
    pub(crate) bound: usize,
    /// What it has carried by lanes, and of that the kernel alone.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    #[serde(default)]
    pub(crate) kernel_packets: u64,
    /// Connections that were refused, by the reason.
    #[serde(default)]
    pub(crate) refused: BTreeMap<String, u64>,
    /// Where the kernel switches lanes: interfaces, with the mode of each.
    pub(crate) kernel: Vec<String>,
    /// Why not, or not everywhere.
    pub(crate) user_space: Vec<String>,
    /// Why it does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
}

impl PeerRelayStatus {
    /// Whether it does relay for somebody.
    pub(crate) const fn serves(&self) -> bool {
        self.granted > 0 && self.trouble.is_none()
    }

    /// For people to read.
    pub(crate) fn line(&self) -> String {
        let Self { port, granted, clients, lanes, packets, kernel, user_space, trouble, .. } = self;
        let refused: u64 = self.refused.values().sum();
        if let Some(trouble) = trouble {
            return format!("for nobody: {trouble}");
        }
        if *granted == 0 {
            return "for nobody: the policy grants this node to none (app nearwire/relay)"
                .to_owned();
        }
        let by = match (kernel.is_empty(), user_space.first()) {
            (false, _) => format!("switched by the kernel on {}", kernel.join(", ")),
            (true, Some(why)) => format!("switched in user space: {why}"),
            (true, None) => "starting".to_owned(),
        };
        format!(
            "at port {port}: {clients} clients, {lanes} lanes, {packets} packets, \
             {refused} refused, {by}"
        )
    }
}

/// What the thread says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    certificate: Option<String>,
    status: PeerRelayStatus,
}

/// See the module. Dropped, it ends.
pub(super) struct PeerRelay {
    port: Option<u16>,
    wanted: watch::Sender<Option<Wanted>>,
    said: watch::Receiver<Said>,
    /// What the control plane was told.
    offer: RelayOffer,
}

impl PeerRelay {
    /// One that serves nobody yet; never any without a port.
    pub(super) fn start(port: Option<u16>) -> anyhow::Result<Self> {
        let (wanted, wants) = watch::channel(None);
        let (say, said) = watch::channel(Said::default());
        if port.is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start the runtime of the peer relay")?;
            std::thread::Builder::new()
                .name("peer-relay".to_owned())
                .spawn(move || runtime.block_on(keep(wants, &say)))
                .context("cannot start the thread of the peer relay")?;
        }
        let mut relay = Self { port, wanted, said, offer: RelayOffer::NONE };
        relay.offer = relay.to_offer();
        Ok(relay)
    }

    /// Serves those whom this netmap names.
    pub(super) fn adopt(&self, netmap: &Netmap) {
        let wanted = self.port.and_then(|port| wanted(netmap, port));
        self.wanted.send_if_modified(|before| {
            let is_new = *before != wanted;
            *before = wanted;
            is_new
        });
    }

    /// Serves nobody.
    pub(super) fn cut(&self) {
        self.wanted.send_replace(None);
    }

    /// What it offers.
    pub(super) const fn offer(&self) -> &RelayOffer {
        &self.offer
    }

    /// Waits until it offers something else.
    pub(super) async fn changed(&mut self) -> Option<RelayOffer> {
        loop {
            self.said.changed().await.ok()?;
            let offer = self.to_offer();
            if offer != self.offer {
                self.offer = offer.clone();
                return Some(offer);
            }
        }
    }

    fn to_offer(&self) -> RelayOffer {
        let certificate = self.said.borrow().certificate.clone();
        self.port.map_or(RelayOffer::NONE, |port| RelayOffer { port, certificate })
    }

    /// How it is; nothing if it is not meant to be any.
    pub(super) fn status(&self) -> Option<PeerRelayStatus> {
        let port = self.port?;
        let wanted = self.wanted.borrow();
        let granted = wanted.as_ref().map_or(0, |wanted| wanted.granted);
        Some(PeerRelayStatus { port, granted, ..self.said.borrow().status.clone() })
    }
}

/// Whom this netmap has the node serve, if anybody.
fn wanted(netmap: &Netmap, port: u16) -> Option<Wanted> {
    let served = netmap.relaying.values().filter(|relaying| relaying.served);
    let peers: Vec<_> = served.filter_map(|relaying| netmap.peers.get(&relaying.peer)).collect();
    let nodes: HashSet<PublicKey> =
        peers.iter().flat_map(|peer| [Some(peer.key), peer.next_key]).flatten().collect();
    let keys = netmap.me.control_keys.clone();
    let members = Members { network: netmap.network.id, nodes };
    let granted = peers.len();
    (granted > 0 && !keys.is_empty()).then_some(Wanted { port, keys, members, granted })
}

/// Serves what is wanted, until nobody can want anything any more.
async fn keep(mut wants: watch::Receiver<Option<Wanted>>, say: &watch::Sender<Said>) {
    while wants.has_changed().is_ok() {
        let wanted = wants.borrow_and_update().clone();
        let tried = match wanted {
            Some(wanted) => serve(wanted, &mut wants, say).await,
            None => Ok(()),
        };
        let trouble = tried.err().map(|error| format!("{error:#}"));
        let failed = trouble.is_some();
        if let Some(trouble) = &trouble {
            tracing::warn!("this node is no peer relay: {trouble}");
        }
        let status = PeerRelayStatus { trouble, ..PeerRelayStatus::default() };
        say.send_replace(Said { certificate: None, status });
        if wants.borrow().is_some() && !failed {
            continue;
        }
        tokio::select! {
            changed = wants.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if failed => {}
        }
    }
}

/// Serves until nobody is to be served, or otherwise than by other members.
async fn serve(
    mut now: Wanted,
    wants: &mut watch::Receiver<Option<Wanted>>,
    say: &watch::Sender<Said>,
) -> anyhow::Result<()> {
    let server = start(&now).await?;
    tracing::info!(port = now.port, "this node is a peer relay");
    let certificate = server.fingerprint().map(str::to_owned);
    let mut look = tokio::time::interval(LOOK);
    // When those who are none any more are let go.
    let mut narrows = None;
    loop {
        tokio::select! {
            changed = wants.changed() => {
                let next = wants.borrow_and_update().clone().filter(|_| changed.is_ok());
                let Some(next) = next.filter(|next| (next.port, &next.keys) == (now.port, &now.keys))
                else {
                    break;
                };
                let mut both = next.members.clone();
                both.nodes.extend(&now.members.nodes);
                server.serve_only(both).await;
                narrows = Some(tokio::time::Instant::now() + GRACE);
                now = next;
            }
            () = until(narrows) => {
                narrows = None;
                server.serve_only(now.members.clone()).await;
            }
            _ = look.tick() => {
                let Some(summary) = server.summary().await else { break };
                say.send_replace(Said { certificate: certificate.clone(), status: shown(summary) });
            }
        }
    }
    say.send_modify(|said| said.certificate = None);
    tracing::info!("this node is no peer relay any more");
    Ok(server.drain(GRACE).await?)
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn start(wanted: &Wanted) -> anyhow::Result<Server> {
    let started = Server::start(config(wanted, Ipv6Addr::UNSPECIFIED.into())).await;
    match started {
        Ok(server) => Ok(server),
        // A host without IPv6; if it is something else, it fails once more.
        Err(_) => Server::start(config(wanted, Ipv4Addr::UNSPECIFIED.into())).await,
    }
}

fn config(wanted: &Wanted, at: std::net::IpAddr) -> Config {
    let here = SocketAddr::new(at, wanted.port);
    Config {
        quic: None,
        tls: here,
        lanes: Some(here),
        xdp: XdpChoice::Auto,
        admin: None,
        mesh: None,
        identity: IdentitySource::SelfSigned(vec![RELAY_NAME.to_owned()]),
        control_keys: wanted.keys.iter().map(|key| (*key).into()).collect::<ControlKeys>(),
        control: None,
        settings: Settings {
            members: Some(wanted.members.clone()),
            clients: CLIENTS,
            network_clients: CLIENTS,
            client_rate: CLIENT_RATE,
            lanes: LANES,
            queue_total: QUEUES,
            ..Settings::default()
        },
        admission_time: Duration::from_secs(10),
        admissions: 64,
        source_admissions: 16,
        drain_time: GRACE,
    }
}

fn shown(summary: Summary) -> PeerRelayStatus {
    let kernel = summary.kernel.into_iter().map(|(at, mode)| format!("{at} ({mode})"));
    let refused = summary.refused.into_iter().map(|(why, count)| (why.to_owned(), count));
    PeerRelayStatus {
        clients: summary.clients,
        lanes: summary.lanes,
        bound: summary.bound,
        packets: summary.packets,
        bytes: summary.bytes,
        kernel_packets: summary.kernel_packets,
        refused: refused.collect(),
        kernel: kernel.collect(),
        user_space: summary.user_space,
        ..PeerRelayStatus::default()
    }
}
