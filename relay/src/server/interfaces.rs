//! The host's interfaces and their addresses, by netlink; and word of their changes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::packet_route::route::RouteAttribute;
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};
use tokio::task::JoinHandle;

/// An interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) mtu: u16,
    pub(super) up: bool,
    pub(super) loopback: bool,
    pub(super) addresses: Vec<IpAddr>,
    /// Whether a default route leaves by it.
    pub(super) default_route: bool,
}

/// Whom to ask for interfaces, and who tells of changes.
pub(super) struct Netlink {
    handle: Handle,
    changes: futures_util::stream::BoxStream<'static, ()>,
    connection: JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// With word of default routes too, if those matter.
    pub(super) fn open(routes: bool) -> Result<Self> {
        use MulticastGroup::{Ipv4Ifaddr, Ipv4Route, Ipv6Ifaddr, Ipv6Route, Link};
        let all = [Link, Ipv4Ifaddr, Ipv6Ifaddr, Ipv4Route, Ipv6Route];
        let groups = if routes { &all[..] } else { &all[..3] };
        let (connection, handle, messages) = new_multicast_connection(groups)
            .context("cannot ask the kernel for its interfaces over netlink")?;
        let connection = tokio::spawn(connection);
        let matters = |message: &RouteNetlinkMessage| match message {
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                route.header.destination_prefix_length == 0
            }
            _ => true,
        };
        let changes = messages.filter_map(move |(message, _)| {
            let other = match &message.payload {
                NetlinkPayload::InnerMessage(message) => !matters(message),
                // Some were lost, say.
                _ => false,
            };
            std::future::ready((!other).then_some(()))
        });
        Ok(Self { handle, changes: changes.boxed(), connection })
    }

    /// The interfaces as they are now.
    pub(super) async fn interfaces(&mut self) -> Result<Vec<Interface>> {
        let routes = self.default_routes().await?;
        let mut links = self.handle.link().get().execute();
        let mut interfaces = Vec::new();
        while let Some(link) = links.try_next().await.context("listing interfaces")? {
            let (mut name, mut mtu) = (String::new(), u16::MAX);
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(is) => name = is,
                    LinkAttribute::Mtu(is) => mtu = u16::try_from(is).unwrap_or(u16::MAX),
                    _ => {}
                }
            }
            let index = link.header.index;
            interfaces.push(Interface {
                name,
                index,
                mtu,
                up: link.header.flags.contains(LinkFlags::Up),
                loopback: link.header.flags.contains(LinkFlags::Loopback),
                addresses: Vec::new(),
                default_route: routes.contains(&index),
            });
        }
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses.try_next().await.context("listing addresses")? {
            let index = message.header.index;
            let at = interfaces.iter_mut().find(|interface| interface.index == index);
            let Some(at) = at else { continue };
            // On a point-to-point link the address is the other end's, and `Local` ours.
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            });
            let address = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            });
            at.addresses.extend(local.or(address));
        }
        Ok(interfaces)
    }

    /// The interfaces by which default routes leave.
    async fn default_routes(&mut self) -> Result<BTreeSet<u32>> {
        let all = [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ];
        let mut found = BTreeSet::new();
        for which in all {
            let mut routes = self.handle.route().get(which).execute();
            while let Some(route) = routes.try_next().await.context("listing routes")? {
                if route.header.destination_prefix_length > 0 {
                    continue;
                }
                found.extend(route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Oif(index) => Some(*index),
                    _ => None,
                }));
            }
        }
        Ok(found)
    }

    /// Waits until they have changed; what comes in one breath is one change. An error: nobody tells of
    /// it any more.
    pub(super) async fn changed(&mut self) -> Result<(), Silent> {
        self.changes.next().await.ok_or(Silent)?;
        while self.changes.next().now_or_never().flatten().is_some() {}
        Ok(())
    }
}

/// The kernel tells of no changes any more.
pub(super) struct Silent;
