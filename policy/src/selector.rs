//! The little languages inside the strings of a rule.

use std::{net::IpAddr, str::FromStr};

use crate::{MAX_SELECTORS, Network, PortRange, Prefix};

/// What is wrong with a string, and at which byte of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) reason: String,
}

fn fault<T>(at: usize, reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, reason: reason.into() })
}

/// A number as a policy writes it: no sign, no leading zero.
pub(crate) fn decimal<N: FromStr>(text: &str) -> Option<N> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// An entry of `src`, or the part of a `dst` entry before the ports.
pub(crate) fn network(text: &str) -> Result<Network, Fault> {
    if text == "*" {
        return Ok(Network::Any);
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(ip) = address.parse::<IpAddr>() else {
        return fault(0, not_an_address(text));
    };
    if let IpAddr::V6(v6) = ip
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return fault(0, format!("{v6} is an IPv4 address: write {v4}"));
    }
    let Some(length) = length else {
        return Ok(Network::Prefix(Prefix::host(ip)));
    };
    let at = address.len() + 1;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let Some(length) = decimal(length).filter(|&length| length <= most) else {
        return fault(at, format!("{length:?} is not a prefix length: write 0 to {most}"));
    };
    match Prefix::new(ip, length) {
        Some(prefix) => Ok(Network::Prefix(prefix)),
        None => fault(
            0,
            format!(
                "{text} has bits set beyond its length: write {} for the prefix, or {ip} for the \
                 host",
                truncated(ip, length)
            ),
        ),
    }
}

fn truncated(ip: IpAddr, length: u8) -> String {
    let bits = match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    };
    format!("{bits}/{length}")
}

fn not_an_address(text: &str) -> String {
    let kind = match text.split_once(':').map(|(kind, _)| kind) {
        Some("group") => "groups are",
        Some("tag") => "tags are",
        Some("autogroup") => "autogroups are",
        Some("ipset" | "svc" | "host") => "named sets are",
        _ if text.contains('@') => "users are",
        _ if text.contains('-') && !text.contains(|c: char| c.is_ascii_alphabetic()) => {
            "address ranges are"
        }
        _ => {
            return format!(
                "{text:?} is not an address, a prefix or \"*\" (names from \"hosts\" are not \
                 supported yet)"
            );
        }
    };
    format!("{text:?}: {kind} not supported yet: write addresses, prefixes or \"*\"")
}

/// An entry of `dst`: addresses, a colon, ports.
pub(crate) fn destination(text: &str) -> Result<(Network, Vec<PortRange>), Fault> {
    let (addresses, addresses_at, ports_at) = if let Some(inner) = text.strip_prefix('[') {
        let Some((address, ports)) = inner.split_once("]:") else {
            return fault(0, format!("{text:?} lacks \"]:\" and ports, as in \"[fd00::2]:443\""));
        };
        if !address.contains(':') {
            return fault(1, "only an IPv6 address or prefix goes into brackets");
        }
        (address, 1, text.len() - ports.len())
    } else {
        let Some((addresses, ports)) = text.rsplit_once(':') else {
            return fault(0, format!("{text:?} names no ports: write {text}:22 or {text}:*"));
        };
        let looks_v6 = addresses.contains(':') && !addresses.contains('/');
        if looks_v6 && (text.parse::<IpAddr>().is_ok() || addresses.parse::<IpAddr>().is_ok()) {
            return fault(
                0,
                format!(
                    "where {text:?} ends and its ports begin is not clear: write [address]:ports"
                ),
            );
        }
        (addresses, 0, text.len() - ports.len())
    };
    let network =
        network(addresses).map_err(|fault| Fault { at: fault.at + addresses_at, ..fault })?;
    let ports =
        ports(&text[ports_at..]).map_err(|fault| Fault { at: fault.at + ports_at, ..fault })?;
    Ok((network, ports))
}

fn ports(text: &str) -> Result<Vec<PortRange>, Fault> {
    if text == "*" {
        return Ok(vec![PortRange::ALL]);
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Some(first), Some(last)) = (decimal(first), decimal(last)) else {
            return fault(
                at,
                format!("{part:?} is not a port, a range of ports or \"*\": write 22, 80-90 or *"),
            );
        };
        if first > last {
            return fault(at, format!("{part:?} ends before it begins"));
        }
        ranges.push(PortRange { first, last });
        at += part.len() + 1;
    }
    if ranges.len() > MAX_SELECTORS {
        return fault(0, format!("more than {MAX_SELECTORS} port ranges"));
    }
    Ok(ranges)
}
