//! The text of a `set` request.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use ipnet::IpNet;

use super::{AllowedIpChange, PeerChange, RequestError, Set};
use crate::key::{PresharedKey, PrivateKey, PublicKey};

type Zone<'a> = &'a dyn Fn(&str) -> Option<u32>;

/// Reads the lines after `set=1`.
pub(super) fn parse(text: &str, zone: Zone<'_>) -> Result<Set, RequestError> {
    let mut set = Set::default();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() {
            continue;
        }
        apply(&mut set, line, zone)
            // Counted from 1, and `set=1` itself is the first.
            .map_err(|reason| RequestError { line: number + 2, reason })?;
    }
    Ok(set)
}

fn apply(set: &mut Set, line: &str, zone: Zone<'_>) -> Result<(), String> {
    let (key, value) = line.split_once('=').ok_or("expected key=value")?;
    if key == "public_key" {
        let public_key = PublicKey::from_hex(value).map_err(|error| error.to_string())?;
        set.peers.push(PeerChange::new(public_key));
        return Ok(());
    }
    match set.peers.last_mut() {
        None => apply_device(set, key, value),
        Some(peer) => apply_peer(peer, key, value, zone),
    }
}

fn apply_device(set: &mut Set, key: &str, value: &str) -> Result<(), String> {
    match key {
        "private_key" => {
            let key = PrivateKey::from_hex(value).map_err(|error| error.to_string())?;
            set.private_key = Some((!key.is_zero()).then_some(key));
        }
        "listen_port" => set.listen_port = Some(number(key, value)?),
        "fwmark" => set.fwmark = Some(fwmark(value)?),
        "replace_peers" => {
            only_true(key, value)?;
            set.replace_peers = true;
        }
        _ => return Err(format!("no such key for an interface: {key:.32}")),
    }
    Ok(())
}

fn apply_peer(peer: &mut PeerChange, key: &str, value: &str, zone: Zone<'_>) -> Result<(), String> {
    match key {
        "preshared_key" => {
            let key = PresharedKey::from_hex(value).map_err(|error| error.to_string())?;
            peer.preshared_key = Some((!key.is_zero()).then_some(key));
        }
        "endpoint" => peer.endpoint = Some(endpoint(value, zone)?),
        "persistent_keepalive_interval" => {
            peer.persistent_keepalive = Some(number(key, value)?);
        }
        "allowed_ip" => peer.allowed_ips.push(allowed_ip(value)?),
        "replace_allowed_ips" => {
            only_true(key, value)?;
            peer.replace_allowed_ips = true;
            // What stood before it in this request is replaced as well.
            peer.allowed_ips.clear();
        }
        "remove" => {
            only_true(key, value)?;
            peer.remove = true;
        }
        "update_only" => {
            only_true(key, value)?;
            peer.update_only = true;
        }
        "protocol_version" if value == "1" => {}
        "protocol_version" => return Err("the only protocol_version is 1".into()),
        _ => return Err(format!("no such key for a peer: {key:.32}")),
    }
    Ok(())
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{key} is out of range or no number: {value:.32}"))
}

/// `wg` writes the mark in decimal; people who speak the protocol by hand write hexadecimal too.
fn fwmark(value: &str) -> Result<u32, String> {
    match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16)
            .map_err(|_| format!("fwmark is out of range or no number: {value:.32}")),
        None => number("fwmark", value),
    }
}

fn only_true(key: &str, value: &str) -> Result<(), String> {
    if value == "true" { Ok(()) } else { Err(format!("{key} takes only the value true")) }
}

fn allowed_ip(value: &str) -> Result<AllowedIpChange, String> {
    let (remove, text) = match value.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| format!("no address with prefix length: {text:.64}"))?
        // Host bits mean nothing: 10.0.0.7/24 is 10.0.0.0/24, as everywhere in WireGuard.
        .trunc();
    Ok(if remove { AllowedIpChange::Remove(network) } else { AllowedIpChange::Add(network) })
}

fn endpoint(value: &str, zone: Zone<'_>) -> Result<SocketAddr, String> {
    if let Ok(address) = value.parse() {
        return Ok(address);
    }
    link_local(value, zone).ok_or_else(|| format!("no address and port: {value:.64}"))
}

/// `[fe80::1%eth0]:51820`, as `wg` writes what `getnameinfo` gave it.
fn link_local(value: &str, zone: Zone<'_>) -> Option<SocketAddr> {
    let (host, port) = value.strip_prefix('[')?.rsplit_once("]:")?;
    let (address, name) = host.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    Some(SocketAddrV6::new(address, port.parse().ok()?, 0, zone(name)?).into())
}
