//! The relay with its sockets: QUIC, TLS on TCP, UDP lanes, and a page for operators.
//!
//! One thread owns the [core](crate::core) and the sockets of lanes, and runs to completion
//! (`hub`). tokio carries what is encrypted: it admits connections, moves their bytes, and speaks
//! with the hub by a bounded channel. What the hub hands to a connection is bounded by the core.

mod admin;
mod admission;
mod certificate_age;
mod config;
mod control;
mod datagrams;
mod hub;
mod interfaces;
mod io_limits;
mod kernel_switch;
mod line;
mod listening;
mod mesh;
mod metrics;
mod quic;
mod readings;
mod sources;
mod stream;
mod stun_sockets;
mod summary;
mod tcp;
mod tls;
mod udp;
mod udp_socket;
mod xdp;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use config::{Config, ControlKeyText, Lines, Options};
pub use control::ControlConfig;
pub use hub::Failed;
pub use mesh::{MeshConfig, make_key};
pub use summary::Summary;
pub use tls::IdentitySource;
pub use xdp::XdpChoice;

use admission::{Door, Tally};
use certificate_age::Age;
use control::ControlLine;
use hub::HubHandle;
use interfaces::Netlink;
use kernel_switch::KernelSwitch;
use quic::Quic;
use readings::Readings;
use stun_sockets::StunSockets;
use xdp::{Keeper, Wish, XdpStatus};

use crate::core::{Members, Settings};

/// How long the last frames may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running relay.
pub struct Server {
    hub: HubHandle,
    mesh: Option<quinn::Endpoint>,
    quic: Option<Quic>,
    addresses: Addresses,
    fingerprint: Option<String>,
    tally: Arc<Tally>,
    tasks: JoinSet<()>,
    /// Ends with the last connection.
    gone: mpsc::Receiver<Infallible>,
}

/// Where a relay listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// QUIC, over UDP.
    pub quic: Option<SocketAddr>,
    /// TLS, over TCP.
    pub tls: SocketAddr,
    /// Lanes, over UDP.
    pub lanes: Option<SocketAddr>,
    /// Other relays of the region, over QUIC.
    pub mesh: Option<SocketAddr>,
    /// Metrics, health and status, over HTTP.
    pub admin: Option<SocketAddr>,
}

impl Server {
    /// Opens all sockets and serves. Must be called within a tokio runtime.
    pub async fn start(config: Config) -> Result<Self> {
        io_limits::raise(config.settings.clients)?;
        let Readings { identity, mesh, control } = Readings::of(&config).await?;
        identity.make_place()?;
        let fingerprint = identity.fingerprint();
        let lanes = config.lanes.map(|at| udp::Udp::open(at, "lanes")).transpose()?;
        let lane_address = lanes.as_ref().map(udp::Udp::local_address).transpose()?;
        let mut settings = config.settings.clone();
        if let Some(bound) = lane_address {
            if settings.lane_addresses.is_empty() {
                settings.lane_addresses = vec![bound];
            }
            // Port 0 is whichever was given.
            let any = settings.lane_addresses.iter_mut().filter(|address| address.port() == 0);
            any.for_each(|address| address.set_port(bound.port()));
        }
        let InKernel { switch, xdp, keeper } = match lane_address {
            Some(bound) => in_kernel(&config.xdp, &settings, bound).await,
            None => InKernel::default(),
        };
        if let Some(lanes) = lanes.as_ref().filter(|_| xdp.is_generic()) {
            lanes.keep_apart().context("having datagrams of lanes come one by one")?;
        }
        let stun = match lane_address {
            Some(bound) => StunSockets::open(&settings.stun, bound)?,
            None => StunSockets::default(),
        };
        let hub = hub::start(settings, hub::Ports { lanes, stun }, switch, xdp)?;
        let mut tasks = JoinSet::new();
        let mesh = match config.mesh.as_ref().zip(mesh) {
            Some((mesh, known)) => Some(mesh::start(mesh, known, hub.clone(), &mut tasks).await?),
            None => None,
        };
        let (door, gone) = Door::new(&config, hub.clone());
        let door = Arc::new(door);
        let tally = Arc::clone(&door.tally);
        let control = match config.control.zip(control) {
            Some((control, client)) => {
                let line = ControlLine::default();
                tasks.spawn(control::follow(client, control, line.clone(), hub.clone()));
                Some(line)
            }
            None => None,
        };
        let quic = config.quic.map(|at| quic::start(at, &identity, &door)).transpose()?;
        let tcp = TcpListener::bind(config.tls)
            .await
            .map_err(|error| listening::failed(error, config.tls, "tls"))?;
        if let Some(admin) = config.admin.filter(|admin| !admin.ip().to_canonical().is_loopback()) {
            tracing::warn!(%admin, "{}", config::OPEN_ADMIN);
        }
        let admin = match config.admin {
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .map_err(|error| listening::failed(error, address, "admin"))?,
            ),
            None => None,
        };
        let addresses = Addresses {
            quic: quic.as_ref().map(Quic::address),
            tls: tcp.local_addr().context("the address of TLS")?,
            lanes: lane_address,
            mesh: mesh.as_ref().map(quinn::Endpoint::local_addr).transpose()?,
            admin: admin.as_ref().map(TcpListener::local_addr).transpose()?,
        };
        tasks.spawn(tcp::serve(tcp, identity.tcp_config()?, door.clone()));
        if let Some(keeper) = keeper {
            tasks.spawn(keeper.keep(hub.clone()));
        }
        if let Some(admin) = admin {
            let (certificate, drain_time) = (identity.current.clone(), config.drain_time);
            let page = admin::Page { door, certificate, control, drain_time };
            tasks.spawn(admin::serve(admin, page));
        }
        tasks.spawn(identity.keep());
        Ok(Self { hub, mesh, quic, addresses, fingerprint, tally, tasks, gone })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The SHA-256 of the certificate that it began with, in hexadecimal. A certificate authority may
    /// have given none yet.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// Serves these nodes from now on, and nobody else.
    pub async fn serve_only(&self, members: Members) {
        // One that has ended serves nobody.
        let _ = self.hub.tell(hub::ToHub::Serve(Box::new(members))).await;
    }

    /// Waits until the relay has ended: because an operator has told it to, or it has failed.
    pub async fn ended(&self) -> Result<(), Failed> {
        let mut hub = self.hub.clone();
        match &self.quic {
            Some(quic) => tokio::select! {
                ended = hub.ended() => ended,
                () = quic.ended() => Err(Failed),
            },
            None => hub.ended().await,
        }
    }

    /// Tells the clients that the relay ends in `within`, and waits until it does: when they have gone, or
    /// it is time.
    pub async fn drain(mut self, within: Duration) -> Result<(), Failed> {
        self.hub.drain(within).await;
        let ended = self.hub.ended().await;
        self.tasks.shutdown().await;
        // What is written last gets its chance; who does not read it has had its time.
        if let Some(quic) = &self.quic {
            quic.end(LAST_WORDS);
        }
        let _ = tokio::time::timeout(2 * LAST_WORDS, self.gone.recv()).await;
        if let Some(endpoint) = self.mesh {
            endpoint.close(quinn::VarInt::from_u32(0), b"drained");
            let _ = tokio::time::timeout(LAST_WORDS, endpoint.wait_idle()).await;
        }
        ended
    }
}

/// What the kernel does with lanes: at the start, and when interfaces come.
#[derive(Default)]
struct InKernel {
    switch: Option<KernelSwitch>,
    xdp: XdpStatus,
    /// Who goes by what changes, if that matters.
    keeper: Option<Keeper>,
}

/// Has the kernel switch lanes, if it may and can.
async fn in_kernel(choice: &XdpChoice, settings: &Settings, bound: SocketAddr) -> InKernel {
    let known = async {
        let mut netlink = Netlink::open(*choice == XdpChoice::Auto)?;
        let interfaces = netlink.interfaces().await?;
        anyhow::Ok((netlink, interfaces))
    };
    let found = match known.await {
        Ok((netlink, interfaces)) => {
            let wish = Wish::new(choice, settings, bound);
            let (hung, lost, may_come) = match wish.load(&interfaces) {
                Ok((kernel, lost)) => {
                    (xdp::hang(kernel, std::iter::empty(), &interfaces), Some(lost), true)
                }
                Err(refused) => (XdpStatus::default().without(refused.why), None, refused.may_come),
            };
            let (switch, xdp) = hung;
            let lost = lost.filter(|_| switch.is_some());
            let keeper = may_come.then(|| Keeper::new(netlink, wish, lost));
            InKernel { switch, xdp, keeper }
        }
        Err(error) => {
            let (switch, xdp) = XdpStatus::default().without(format!("{error:#}"));
            InKernel { switch, xdp, ..InKernel::default() }
        }
    };
    if *choice == XdpChoice::Off {
        tracing::info!("lanes are switched in user space: `xdp` is off");
    } else {
        found.xdp.tell();
    }
    found
}

/// Reads all that this configuration names, as a relay does that starts, and says what one would be
/// like.
pub async fn foretell(config: &Config) -> Result<String> {
    let readings = Readings::of(config).await?;
    let mut foretold = lanes_foretold(config).await;
    let certificate = readings.identity.current.get();
    if certificate.is_some_and(|certificate| Age::of(&certificate) == Age::Expired) {
        foretold.push_str("\nthe certificate has expired: /healthz would answer 503");
    }
    if config.admin.is_some_and(|admin| !admin.ip().to_canonical().is_loopback()) {
        foretold.push_str(&format!("\n{}", config::OPEN_ADMIN));
    }
    Ok(foretold)
}

async fn lanes_foretold(config: &Config) -> String {
    let Some(lanes) = config.lanes else { return "there are no lanes".to_owned() };
    let planned = async {
        let interfaces = Netlink::open(false)?.interfaces().await?;
        let mut addresses = config.settings.lane_addresses.clone();
        if addresses.is_empty() {
            addresses.push(lanes);
        }
        anyhow::Ok(xdp::foretell(&config.xdp, &addresses, &interfaces, lanes.port()))
    };
    let switched = match planned.await {
        Ok(foretold) => foretold,
        Err(error) => format!("lanes would be switched in user space: {error:#}"),
    };
    let stun =
        config.settings.stun.iter().map(|pair| {
            format!("\nSTUN would tell askers what their NAT does, by {}", pair.other())
        });
    switched + &stun.collect::<String>()
}
