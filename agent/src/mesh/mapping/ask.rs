//! Asking the router: by PCP, else by NAT-PMP, else by UPnP.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp, pcp,
};
use igd_next::aio::Gateway as Igd;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{PortMappingProtocol, SearchOptions};
use tokio::time::timeout;

use crate::io::gateway::Gateway;

/// How long a mapping is asked for, as RFC 6886 recommends.
const LIFETIME: Duration = Duration::from_secs(7200);
/// How the mapping is called in the router's list.
const NAME: &str = "nearwire";
/// Routers are near: what has not answered by then is not there. PCP is asked three times, a quarter, half
/// and one second apart, NAT-PMP, which goes to the same port, twice.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const PCP_AGAIN: usize = 2;
const NAT_PMP_AGAIN: usize = 1;
/// UPnP devices may take a moment before they answer.
const SEARCH: Duration = Duration::from_secs(2);
/// What the router may take to do a thing by UPnP.
const UPNP: Duration = Duration::from_secs(5);

/// By what a router is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Method {
    Pcp,
    NatPmp,
    Upnp,
}

impl Method {
    pub(super) const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];

    /// For people, and for counters.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        }
    }
}

/// Why there is no mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no router to ask.
    NoRouter,
    /// It answers by none of the three.
    NoAnswer,
    /// It does not want to.
    Refused(Method, String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRouter => f.write_str("this host has no router over IPv4"),
            Self::NoAnswer => f.write_str("the router answers neither PCP, nor NAT-PMP, nor UPnP"),
            Self::Refused(method, why) => {
                write!(f, "the router refuses by {}: {why}", method.label())
            }
        }
    }
}

/// What the router has granted.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) from: Gateway,
    pub(super) method: Method,
    /// Where the world reaches the port.
    pub(super) external: SocketAddr,
    pub(super) lifetime: Duration,
    right: Right,
}

/// What it takes to renew it and to give it back.
#[derive(Debug)]
enum Right {
    Port(Box<PortMapping>),
    Upnp { igd: Box<Igd<Tokio>>, local: SocketAddr, port: u16 },
}

/// Asks for a mapping of this port, again if there was one. `nonce` is by which PCP knows us.
pub(super) async fn ask(
    from: Gateway,
    port: NonZeroU16,
    nonce: pcp::Nonce,
    before: Option<Held>,
) -> Result<Held, Trouble> {
    let held = before.filter(|held| held.from == from);
    let before = held.as_ref().map(|held| held.external);
    if let Some(held) = held
        && let Some(renewed) = renew(held).await
    {
        return Ok(renewed);
    }
    let by_pcp = by_pcp(from, port, nonce, before).await;
    let by_pcp = match by_pcp {
        Ok(held) => return Ok(held),
        Err(trouble) => trouble,
    };
    let by_nat_pmp = match by_nat_pmp(from, port, before).await {
        Ok(held) => return Ok(held),
        Err(trouble) => trouble,
    };
    let by_upnp = match by_upnp(from, port).await {
        Ok(held) => return Ok(held),
        Err(trouble) => trouble,
    };
    let all = [by_pcp, by_nat_pmp, by_upnp];
    let refused = all.into_iter().find(|trouble| matches!(trouble, Trouble::Refused(..)));
    Err(refused.unwrap_or(Trouble::NoAnswer))
}

/// Gives it back. A router that does not hear it forgets it when its time is over.
pub(super) async fn give_back(held: Held) {
    match held.right {
        Right::Port(mut mapping) => {
            mapping.timeout_config = waits(PCP_AGAIN);
            let _ = mapping.try_drop().await;
        }
        Right::Upnp { igd, port, .. } => {
            let _ = timeout(UPNP, igd.remove_port(PortMappingProtocol::UDP, port)).await;
        }
    }
}

async fn renew(held: Held) -> Option<Held> {
    let Held { from, method, right, .. } = held;
    match right {
        Right::Port(mut mapping) => {
            mapping.renew().await.ok()?;
            of_port(from, method, *mapping).await.ok()
        }
        Right::Upnp { igd, local, port } => of_igd(from, *igd, local, Some(port)).await.ok(),
    }
}

async fn by_pcp(
    from: Gateway,
    port: NonZeroU16,
    nonce: pcp::Nonce,
    before: Option<SocketAddr>,
) -> Result<Held, Trouble> {
    let base =
        pcp::BaseMapRequest::new(from.router.into(), from.own.into(), InternetProtocol::Udp, port);
    let options = options(PCP_AGAIN, before.map_or(Some(port), |at| NonZeroU16::new(at.port())));
    let asked = pcp::port_mapping(base, Some(nonce), before.map(|at| at.ip()), options).await;
    match asked {
        Ok(mapping) => of_port(from, Method::Pcp, mapping).await,
        Err(
            pcp::Failure::Timeout
            | pcp::Failure::Socket(_)
            | pcp::Failure::UnsupportedVersion(_)
            | pcp::Failure::InvalidResponse(_),
        ) => Err(Trouble::NoAnswer),
        Err(failure) => Err(Trouble::Refused(Method::Pcp, failure.to_string())),
    }
}

async fn by_nat_pmp(
    from: Gateway,
    port: NonZeroU16,
    before: Option<SocketAddr>,
) -> Result<Held, Trouble> {
    let options =
        options(NAT_PMP_AGAIN, before.map_or(Some(port), |at| NonZeroU16::new(at.port())));
    let asked =
        natpmp::port_mapping(from.router.into(), InternetProtocol::Udp, port, options).await;
    match asked {
        Ok(mapping) => of_port(from, Method::NatPmp, mapping).await,
        Err(failure) => Err(of_nat_pmp(&failure)),
    }
}

fn of_nat_pmp(failure: &natpmp::Failure) -> Trouble {
    match failure {
        natpmp::Failure::Timeout
        | natpmp::Failure::Socket(_)
        | natpmp::Failure::UnsupportedVersion(_)
        | natpmp::Failure::InvalidResponse(_) => Trouble::NoAnswer,
        other => Trouble::Refused(Method::NatPmp, other.to_string()),
    }
}

/// What a mapping of either protocol is: NAT-PMP tells the router's address by another question.
async fn of_port(from: Gateway, method: Method, mapping: PortMapping) -> Result<Held, Trouble> {
    let ip = match mapping.mapping_type() {
        PortMappingType::Pcp { external_ip, .. } => external_ip,
        PortMappingType::NatPmp => {
            let asked = natpmp::external_address(from.router.into(), Some(waits(NAT_PMP_AGAIN)));
            asked.await.map_err(|failure| of_nat_pmp(&failure))?.into()
        }
    };
    let lifetime = Duration::from_secs(mapping.lifetime().into());
    let external = external(method, ip, mapping.external_port().get())?;
    Ok(Held { from, method, external, lifetime, right: Right::Port(Box::new(mapping)) })
}

async fn by_upnp(from: Gateway, port: NonZeroU16) -> Result<Held, Trouble> {
    // Of an address of the host's, the search goes out by the link that has it.
    let mut options = SearchOptions::default();
    options.bind_addr = SocketAddrV4::new(from.own, 0).into();
    options.timeout = Some(SEARCH);
    let igd = search_gateway(options).await.map_err(|_| Trouble::NoAnswer)?;
    // Only the router is believed: anybody on the link may answer.
    if igd.addr.ip() != IpAddr::V4(from.router) {
        return Err(Trouble::NoAnswer);
    }
    of_igd(from, igd, SocketAddrV4::new(from.own, port.get()).into(), None).await
}

async fn of_igd(
    from: Gateway,
    igd: Igd<Tokio>,
    local: SocketAddr,
    before: Option<u16>,
) -> Result<Held, Trouble> {
    let refused = |why: String| Trouble::Refused(Method::Upnp, why);
    let seconds = u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX);
    let udp = PortMappingProtocol::UDP;
    let asked = async {
        let ip = igd.get_external_ip().await.map_err(|error| refused(error.to_string()))?;
        // The port that the host has itself is what the router's list is most easily read by.
        let port = before.unwrap_or(local.port());
        if igd.add_port(udp, port, local, seconds, NAME).await.is_ok() {
            return Ok((ip, port));
        }
        let port = igd.add_any_port(udp, local, seconds, NAME).await;
        port.map(|port| (ip, port)).map_err(|error| refused(error.to_string()))
    };
    let (ip, port) = timeout(UPNP, asked).await.map_err(|_| Trouble::NoAnswer)??;
    let external = external(Method::Upnp, ip, port)?;
    let right = Right::Upnp { igd: Box::new(igd), local, port };
    Ok(Held { from, method: Method::Upnp, external, lifetime: LIFETIME, right })
}

/// Where the router says that it is, if anybody can be there.
fn external(method: Method, ip: IpAddr, port: u16) -> Result<SocketAddr, Trouble> {
    let is_some = match ip {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast())
                && v4 != Ipv4Addr::BROADCAST
        }
        IpAddr::V6(_) => false,
    };
    if is_some && port != 0 {
        Ok((ip, port).into())
    } else {
        Err(Trouble::Refused(method, format!("it names no address of its own, but {ip}")))
    }
}

fn options(again: usize, port: Option<NonZeroU16>) -> PortMappingOptions {
    PortMappingOptions {
        external_port: port,
        lifetime_seconds: u32::try_from(LIFETIME.as_secs()).ok(),
        timeout_config: Some(waits(again)),
    }
}

const fn waits(again: usize) -> TimeoutConfig {
    TimeoutConfig { initial_timeout: FIRST_WAIT, max_retries: again, max_retry_timeout: None }
}
