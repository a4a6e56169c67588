//! Addresses and routes of the tunnel interface, and the addresses of the host's other ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::LinkFlags;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol,
};
use rtnetlink::{
    Error, Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder, new_connection,
    new_multicast_connection,
};
use tokio::sync::mpsc;

use super::link::mtu_of;

/// Our end of the kernel's network configuration.
pub(crate) struct Network {
    handle: Handle,
    index: u32,
}

/// What the host's other interfaces lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Local {
    /// Networks, with the host's address in each.
    pub(crate) networks: Vec<IpNet>,
    /// The largest MTU of them.
    pub(crate) mtu: Option<u16>,
}

impl Network {
    /// For an interface.
    pub(crate) fn of(name: &str) -> anyhow::Result<Self> {
        let index = super::tun::interface_index(name)
            .with_context(|| format!("interface {name} is gone"))?;
        let (connection, handle, _) = new_connection().context("cannot speak netlink")?;
        tokio::spawn(connection);
        Ok(Self { handle, index })
    }

    /// The interface's number.
    pub(crate) const fn index(&self) -> u32 {
        self.index
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) async fn set_up(&self) -> anyhow::Result<()> {
        let up = LinkUnspec::new_with_index(self.index).up().build();
        self.handle.link().set(up).execute().await.context("cannot bring the interface up")
    }

    pub(crate) async fn add_address(&self, address: IpNet) -> anyhow::Result<()> {
        let request = self.handle.address().add(self.index, address.addr(), address.prefix_len());
        request.replace().execute().await.with_context(|| format!("cannot add address {address}"))
    }

    /// Adds an address by which only this host reaches itself.
    pub(crate) async fn add_own_address(&self, address: Ipv4Addr) -> anyhow::Result<()> {
        let mut request = self.handle.address().add(self.index, address.into(), 32);
        request.message_mut().header.scope = AddressScope::Host;
        request.replace().execute().await.with_context(|| format!("cannot add address {address}"))
    }

    pub(crate) async fn remove_address(&self, address: IpNet) -> anyhow::Result<()> {
        let filtered = self.handle.address().get().set_link_index_filter(self.index);
        let mut found = filtered.set_address_filter(address.addr()).execute();
        while let Some(message) = found.try_next().await? {
            gone(self.handle.address().del(message).execute().await)
                .with_context(|| format!("cannot remove address {address}"))?;
        }
        Ok(())
    }

    pub(crate) async fn add_route(&self, route: IpNet) -> anyhow::Result<()> {
        let added = self.handle.route().add(self.by_us(route)?).replace().execute().await;
        added.with_context(|| format!("cannot add route {route}"))
    }

    pub(crate) async fn remove_route(&self, route: IpNet) -> anyhow::Result<()> {
        let removed = self.handle.route().del(self.by_us(route)?).execute().await;
        gone(removed).with_context(|| format!("cannot remove route {route}"))
    }

    /// A route by this interface.
    fn by_us(&self, route: IpNet) -> anyhow::Result<RouteMessage> {
        Ok(RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(route.network(), route.prefix_len())?
            .output_interface(self.index)
            .build())
    }

    /// The addresses and routes that the interface has from a daemon before.
    pub(crate) async fn left(&self) -> anyhow::Result<(BTreeSet<IpNet>, BTreeSet<IpNet>)> {
        let (mut left, mut routes) = (BTreeSet::new(), BTreeSet::new());
        let mut found = self.handle.address().get().set_link_index_filter(self.index).execute();
        while let Some(message) = found.try_next().await? {
            if message.header.scope == AddressScope::Universe {
                let addresses = message.attributes.iter().filter_map(|attribute| match attribute {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                });
                left.extend(
                    addresses.filter_map(|at| IpNet::new(at, message.header.prefix_len).ok()),
                );
            }
        }
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        for family in [v4, v6] {
            let mut found = self.handle.route().get(family).execute();
            while let Some(message) = found.try_next().await? {
                routes.extend(self.is_ours(&message));
            }
        }
        Ok((left, routes))
    }

    /// Where a route goes that is as [`Self::add_route`] makes them.
    fn is_ours(&self, message: &RouteMessage) -> Option<IpNet> {
        let header = &message.header;
        let of_us = header.protocol == RouteProtocol::Static
            && message.attributes.contains(&RouteAttribute::Oif(self.index))
            && header.table == RouteHeader::RT_TABLE_MAIN;
        let to = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => Some(IpAddr::from(*to)),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => Some(IpAddr::from(*to)),
            _ => None,
        });
        IpNet::new(to.filter(|_| of_us)?, header.destination_prefix_length).ok()
    }

    /// What the host's other interfaces that are up lead to.
    pub(crate) async fn local(&self) -> anyhow::Result<Local> {
        let mut up = BTreeMap::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            let flags = link.header.flags;
            if flags.contains(LinkFlags::Up)
                && !flags.contains(LinkFlags::Loopback)
                && link.header.index != self.index
            {
                up.insert(link.header.index, mtu_of(&link));
            }
        }
        let (mut networks, mut mtu) = (Vec::new(), None);
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses.try_next().await? {
            let Some(of_link) = up.get(&message.header.index) else { continue };
            for attribute in &message.attributes {
                if let AddressAttribute::Address(address) = attribute
                    && is_reachable(address)
                    && let Ok(net) = IpNet::new(*address, message.header.prefix_len)
                {
                    networks.push(net);
                    mtu = mtu.max(*of_link);
                }
            }
        }
        networks.sort_unstable();
        networks.dedup();
        Ok(Local { networks, mtu })
    }
}

/// Tells each time that an address of the host comes or goes.
pub(crate) fn watch_addresses() -> anyhow::Result<mpsc::Receiver<()>> {
    let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr, MulticastGroup::Link];
    let (connection, handle, mut messages) =
        new_multicast_connection(&groups).context("cannot listen to changes of addresses")?;
    tokio::spawn(connection);
    let (changes, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        // The connection answers only while its handle lives.
        let _handle = handle;
        while messages.next().await.is_some() {
            // One that is not taken yet says the same.
            if let Err(mpsc::error::TrySendError::Closed(())) = changes.try_send(()) {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Has the host forget how much paths over IPv4 carry, which it would remember for ten minutes.
pub(crate) fn forget_lengths() {
    if let Err(error) = fs::write("/proc/sys/net/ipv4/route/flush", "1") {
        tracing::debug!("paths that carry more will be used later: {error}");
    }
}

/// Whether another host may send there.
fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

/// What is to go and is gone already is as good.
pub(super) fn gone(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::NetlinkError(message))
            if message.raw_code() == -libc::ESRCH
                || message.raw_code() == -libc::EADDRNOTAVAIL
                || message.raw_code() == -libc::ENODEV =>
        {
            Ok(())
        }
        other => other,
    }
}
