//! The little languages inside the strings of a rule.

use std::net::IpAddr;

use crate::{
    AddressRange, Autogroup, GroupName, HostName, MAX_SELECTORS, PortRange, Prefix, Protocols,
    Selector, Service, TagName, UserName,
    names::{is_host, is_user, is_word},
    ports::decimal,
    reader::{Fault, fault},
};

/// Kinds of selectors that the language has and we do not.
const REFUSED_KINDS: &[(&str, &str)] = &[
    ("ipset", "IP sets are not supported: use \"hosts\" or a list of prefixes"),
    ("svc", "services are not supported: use a tag or an address"),
    ("host", "write the name of a host without \"host:\""),
    ("user", "users by domain are not supported: name them, or use a group"),
    ("localpart", "only \"ssh\" has it, which is not supported"),
];

/// Autogroups of those who administer a network of Tailscale's.
const ROLES: &[&str] = &["admin", "auditor", "billing-admin", "it-admin", "network-admin", "owner"];

/// Whom an entry of `src`, or the part of a `dst` entry before the ports, speaks of.
pub(crate) fn selector(text: &str) -> Result<Selector, Fault> {
    if text == "*" {
        return Ok(Selector::Any);
    }
    if let Some((kind, name)) = text.split_once(':')
        && text.parse::<IpAddr>().is_err()
    {
        match kind {
            "group" => return group(text).map(Selector::Group),
            "tag" => return tag(text).map(Selector::Tag),
            "autogroup" => return autogroup(name).map(Selector::Autogroup),
            _ => {}
        }
        if let Some((_, why)) = REFUSED_KINDS.iter().find(|(refused, _)| *refused == kind) {
            return fault(0, format!("{text:?}: {why}"));
        }
    }
    if text.contains('@') {
        return user(text).map(Selector::User);
    }
    if text.contains('/') {
        return prefix(text).map(Selector::Prefix);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return plain(address).map(|address| Selector::Prefix(Prefix::host(address)));
    }
    if let Some(range) = range(text) {
        return range.map(Selector::Range);
    }
    if is_host(text) {
        return Ok(Selector::Host(HostName::new(text)));
    }
    fault(
        0,
        format!(
            "{text:?} is not an address, a prefix, a range, a user, a group, a tag, a name from \
             \"hosts\" or \"*\""
        ),
    )
}

pub(crate) fn group(text: &str) -> Result<GroupName, Fault> {
    match text.strip_prefix("group:") {
        // Groups that come from an identity provider are called as their address there.
        Some(name) if is_word(name) || is_user(name) => Ok(GroupName::new(text)),
        _ => fault(0, format!("{text:?} is not the name of a group: write \"group:name\"")),
    }
}

pub(crate) fn tag(text: &str) -> Result<TagName, Fault> {
    TagName::parse(text)
        .map_or_else(|| fault(0, format!("{text:?} is not a tag: write \"tag:name\"")), Ok)
}

pub(crate) fn user(text: &str) -> Result<UserName, Fault> {
    let wrong = || fault(0, format!("{text:?} is not a user: write \"name@domain\", or \"name@\""));
    UserName::parse(text).map_or_else(wrong, Ok)
}

fn autogroup(name: &str) -> Result<Autogroup, Fault> {
    match name {
        "member" | "members" => Ok(Autogroup::Member),
        "tagged" => Ok(Autogroup::Tagged),
        "self" => Ok(Autogroup::Own),
        "internet" => Ok(Autogroup::Internet),
        _ => {
            let roles = if ROLES.contains(&name) {
                format!("users have no roles here, so name them in a group, as \"group:{name}\"; ")
            } else {
                String::new()
            };
            fault(
                0,
                format!(
                    "\"autogroup:{name}\" is not supported: {roles}there are autogroup:member, \
                     autogroup:tagged, autogroup:self and autogroup:internet"
                ),
            )
        }
    }
}

fn plain(address: IpAddr) -> Result<IpAddr, Fault> {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            fault(0, format!("{v6} is an IPv4 address: write {}", v6.to_canonical()))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(address),
    }
}

/// An address, or a prefix of addresses.
pub(crate) fn prefix(text: &str) -> Result<Prefix, Fault> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return fault(0, format!("{text:?} is not an address or a prefix"));
    };
    let address = plain(address)?;
    let Some(length) = length else { return Ok(Prefix::host(address)) };
    let at = text.len() - length.len();
    let most = if address.is_ipv4() { 32 } else { 128 };
    let Some(length) = decimal::<u8>(length).filter(|&length| length <= most) else {
        return fault(at, format!("{length:?} is not a prefix length: write 0 to {most}"));
    };
    match Prefix::new(address, length) {
        Some(prefix) => Ok(prefix),
        None => fault(
            0,
            format!(
                "{text} has bits set beyond its length: write {} for the prefix, or {address} for \
                 the host",
                Prefix::around(address, length)
            ),
        ),
    }
}

/// `10.0.0.1-10.0.0.9`; nothing if it does not look like one.
fn range(text: &str) -> Option<Result<AddressRange, Fault>> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let read = |first, last| {
        let (first, last) = (plain(first)?, plain(last)?);
        if first.is_ipv4() != last.is_ipv4() {
            return fault(0, format!("{text:?} begins in one family and ends in the other"));
        }
        if last < first {
            return fault(0, format!("{text:?} ends before it begins"));
        }
        Ok(AddressRange { first, last })
    };
    Some(read(first, last))
}

/// A part of a string, and where it begins.
type Placed<'t> = (&'t str, usize);

/// An entry of `dst` in `acls`: whom, a colon, ports.
pub(crate) fn split_ports(text: &str) -> Result<(Placed<'_>, Placed<'_>), Fault> {
    if let Some(inner) = text.strip_prefix('[') {
        let Some((address, ports)) = inner.split_once("]:") else {
            return fault(0, format!("{text:?} lacks \"]:\" and ports, as in \"[fd00::2]:443\""));
        };
        if !address.contains(':') {
            return fault(1, "only IPv6 addresses, prefixes and ranges go into brackets");
        }
        return Ok(((address, 1), (ports, text.len() - ports.len())));
    }
    let Some((whom, ports)) = text.rsplit_once(':') else {
        return fault(0, format!("{text:?} names no ports: write {text}:22 or {text}:*"));
    };
    if matches!(whom, "group" | "tag" | "autogroup") {
        return fault(0, format!("{text:?} names no ports: write {text}:22 or {text}:*"));
    }
    let looks_v6 = whom.contains(':') && !whom.contains('/');
    if looks_v6 && (text.parse::<IpAddr>().is_ok() || whom.parse::<IpAddr>().is_ok()) {
        return fault(
            0,
            format!("where {text:?} ends and its ports begin is not clear: write [address]:ports"),
        );
    }
    Ok(((whom, 0), (ports, text.len() - ports.len())))
}

/// An entry of `dst` in `acls`.
pub(crate) fn destination(
    text: &str,
    protocols: Protocols,
) -> Result<(Selector, Vec<Service>), Fault> {
    let ((whom, whom_at), (ports, ports_at)) = split_ports(text)?;
    let selector = selector(whom).map_err(|fault| Fault { at: fault.at + whom_at, ..fault })?;
    let ranges = port_ranges(ports).map_err(|fault| Fault { at: fault.at + ports_at, ..fault })?;
    if !protocols.have_ports() && ranges != [PortRange::ALL] {
        return fault(ports_at, "the rule's protocol has no ports: write \"*\" for them");
    }
    Ok((selector, ranges.into_iter().map(|ports| Service { protocols, ports }).collect()))
}

fn port_ranges(text: &str) -> Result<Vec<PortRange>, Fault> {
    let mut ranges = Vec::new();
    let mut at = 0;
    for part in text.split(',') {
        ranges.push(port_range(part).map_err(|fault| Fault { at: fault.at + at, ..fault })?);
        at += part.len() + 1;
    }
    if ranges.len() > MAX_SELECTORS {
        return fault(0, format!("more than {MAX_SELECTORS} port ranges"));
    }
    Ok(ranges)
}

fn port_range(text: &str) -> Result<PortRange, Fault> {
    if text == "*" {
        return Ok(PortRange::ALL);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Some(first), Some(last)) = (decimal(first), decimal(last)) else {
        return fault(
            0,
            format!("{text:?} is not a port, a range of ports or \"*\": write 22, 80-90 or *"),
        );
    };
    if first > last {
        return fault(0, format!("{text:?} ends before it begins"));
    }
    Ok(PortRange { first, last })
}

/// An entry of `ip` in `grants`: `*`, ports, or a protocol, a colon and ports.
pub(crate) fn service(text: &str) -> Result<Service, Fault> {
    let Some((name, ports)) = text.split_once(':') else {
        if Protocols::named(text).is_some() && decimal::<u8>(text).is_none() {
            return fault(0, format!("{text:?} names no ports: write \"{text}:*\" for all"));
        }
        return Ok(Service { protocols: Protocols::Default, ports: port_range(text)? });
    };
    let protocols = protocols(name)?;
    let at = name.len() + 1;
    let ports = port_range(ports).map_err(|fault| Fault { at: fault.at + at, ..fault })?;
    if !protocols.have_ports() && ports != PortRange::ALL {
        return fault(at, format!("{name} has no ports: write \"{name}:*\""));
    }
    Ok(Service { protocols, ports })
}

/// A protocol by its name or number.
pub(crate) fn protocols(name: &str) -> Result<Protocols, Fault> {
    let lower = name.to_ascii_lowercase();
    match Protocols::named(name) {
        Some(protocols) => Ok(protocols),
        None if Protocols::named(&lower).is_some() => {
            fault(0, format!("unknown protocol {name:?}: write {lower:?}"))
        }
        None => fault(0, format!("unknown protocol {name:?}: {}", Protocols::EXPECTED)),
    }
}
