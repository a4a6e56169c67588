//! All that the host sends to elsewhere goes by the tunnel interface, but what carries the tunnel
//! itself: routing rules and a table of their own, as `wg-quick` makes them.
//!
//! Longer routes of the host stay: its own networks and the mesh are found as before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteHeader, RouteMessage};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};

use super::network::{Network, gone};

/// What the sockets are marked with that carry the tunnel: WireGuard's, and those to relays.
pub(crate) const MARK: u32 = 0x6e77;
/// The table with the route by the interface.
const TABLE: u32 = 0x6e77;
/// Rules are asked in this order: who is always reached by the host's own routes, then its routes
/// but the default one, then ours.
const EXEMPT: u32 = 5300;
const LONGER: u32 = 5301;
const OURS: u32 = 5302;

impl Network {
    /// Diverts, but for what goes to `exempt`.
    pub(crate) async fn divert(&self, exempt: &[IpAddr]) -> anyhow::Result<()> {
        self.undivert().await?;
        for family in families() {
            let route = self.everything(family)?;
            let added = self.handle().route().add(route).replace().execute().await;
            added.with_context(|| {
                format!("cannot add the route {}/0 of an exit node", unspecified(family))
            })?;
            let of_family = exempt.iter().filter(|address| family == family_of(address));
            let rules = of_family.map(|address| exempts(*address));
            // The rule that diverts comes last: no packet of the tunnel is to go by itself.
            for rule in rules.chain([longer(family), ours(family)]) {
                add(self.handle(), rule).await.context("cannot add a rule for an exit node")?;
            }
        }
        Ok(())
    }

    /// Undoes it, also what a daemon before has left.
    pub(crate) async fn undivert(&self) -> anyhow::Result<()> {
        for family in families() {
            let version = if family == AddressFamily::Inet { IpVersion::V4 } else { IpVersion::V6 };
            let mut found = self.handle().rule().get(version).execute();
            let mut rules = Vec::new();
            while let Some(rule) = found.try_next().await.context("cannot read routing rules")? {
                let is_ours = |attribute: &RuleAttribute| {
                    matches!(attribute, RuleAttribute::Priority(EXEMPT | LONGER | OURS))
                };
                if rule.attributes.iter().any(is_ours) {
                    rules.push(rule);
                }
            }
            for rule in rules {
                let removed = self.handle().rule().del(rule).execute().await;
                gone(removed).context("cannot remove a rule of an exit node")?;
            }
            gone(self.handle().route().del(self.everything(family)?).execute().await)
                .context("cannot remove the route of an exit node")?;
        }
        Ok(())
    }

    /// The route of our table.
    fn everything(&self, family: AddressFamily) -> anyhow::Result<RouteMessage> {
        Ok(RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(unspecified(family), 0)?
            .output_interface(self.index())
            .table_id(TABLE)
            .build())
    }
}

/// Whether the host takes a packet only where it would send the answer: then answers to the tunnel's
/// own packets would be lost.
pub(crate) fn checks_reverse_paths(interface: &str) -> bool {
    let directory = Path::new("/proc/sys/net/ipv4/conf");
    let read = |name: &std::ffi::OsStr| {
        let text = std::fs::read_to_string(directory.join(name).join("rp_filter"));
        text.ok().and_then(|text| text.trim().parse::<u8>().ok()).unwrap_or(0)
    };
    let all = read("all".as_ref());
    let Ok(names) = std::fs::read_dir(directory) else { return false };
    let mut names = names.flatten().map(|entry| entry.file_name());
    names.any(|name| {
        let is_other = !["all", "default", "lo", interface].iter().any(|known| name == **known);
        is_other && all.max(read(&name)) == 1
    })
}

/// The families that a host forwards no packets of.
pub(crate) fn does_not_forward() -> Vec<&'static str> {
    ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]
        .into_iter()
        .filter(|name| {
            let text = std::fs::read_to_string(Path::new("/proc/sys/net").join(name));
            // Without the family there is nothing to forward.
            text.is_ok_and(|text| text.trim() == "0")
        })
        .collect()
}

/// Those that the host has.
fn families() -> impl Iterator<Item = AddressFamily> {
    let v6 = Path::new("/proc/net/if_inet6").exists();
    [AddressFamily::Inet].into_iter().chain(v6.then_some(AddressFamily::Inet6))
}

fn unspecified(family: AddressFamily) -> IpAddr {
    match family {
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

const fn family_of(address: &IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn rule(family: AddressFamily, priority: u32) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family;
    rule.header.action = RuleAction::ToTable;
    rule.header.table = RouteHeader::RT_TABLE_MAIN;
    rule.attributes.push(RuleAttribute::Priority(priority));
    rule
}

fn exempts(address: IpAddr) -> RuleMessage {
    let mut exempts = rule(family_of(&address), EXEMPT);
    exempts.header.dst_len = IpNet::from(address).prefix_len();
    exempts.attributes.push(RuleAttribute::Destination(address));
    exempts
}

fn longer(family: AddressFamily) -> RuleMessage {
    let mut longer = rule(family, LONGER);
    longer.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    longer
}

fn ours(family: AddressFamily) -> RuleMessage {
    let mut ours = rule(family, OURS);
    ours.header.flags |= RuleFlags::Invert;
    ours.header.table = RouteHeader::RT_TABLE_UNSPEC;
    ours.attributes.push(RuleAttribute::FwMark(MARK));
    ours.attributes.push(RuleAttribute::Table(TABLE));
    ours
}

async fn add(handle: &Handle, rule: RuleMessage) -> Result<(), rtnetlink::Error> {
    let mut request = handle.rule().add();
    *request.message_mut() = rule;
    request.execute().await
}
