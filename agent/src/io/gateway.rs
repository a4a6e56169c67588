//! The host's router: where packets for everywhere go over IPv4.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use rtnetlink::{RouteMessageBuilder, new_connection};
use socket2::SockRef;

use super::divert::MARK;

/// A router, and the host's own address towards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gateway {
    pub(crate) router: Ipv4Addr,
    pub(crate) own: Ipv4Addr,
}

impl Gateway {
    /// The host's, if it has one: not what an exit node has made of its routes.
    pub(crate) async fn find() -> anyhow::Result<Option<Self>> {
        let (connection, handle, _) = new_connection().context("cannot speak netlink")?;
        let connection = tokio::spawn(connection);
        let mut best: Option<(u32, Ipv4Addr)> = None;
        let mut found =
            handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        while let Some(route) = found.try_next().await.context("cannot read the host's routes")? {
            if let Some(other) = default_route(&route)
                && best.is_none_or(|best| other < best)
            {
                best = Some(other);
            }
        }
        connection.abort();
        Ok(best.and_then(|(_, router)| Some(Self { router, own: own_address(router)? })))
    }
}

/// The priority and the router of a default route, if it is one.
fn default_route(route: &RouteMessage) -> Option<(u32, Ipv4Addr)> {
    let is_default = route.header.destination_prefix_length == 0
        && route.header.table == RouteHeader::RT_TABLE_MAIN;
    let router = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(router)) => Some(*router),
        _ => None,
    });
    let priority = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    Some((priority.unwrap_or_default(), router.filter(|_| is_default)?))
}

/// From which address the host speaks with it; nothing is sent for that.
fn own_address(router: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Without the mark the answer may be an exit node's.
    let _ = SockRef::from(&socket).set_mark(MARK);
    socket.connect(SocketAddr::from((router, 9))).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(own) if !own.is_unspecified() && !own.is_loopback() => Some(own),
        _ => None,
    }
}
