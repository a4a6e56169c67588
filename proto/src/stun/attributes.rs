//! What follows a message's header: kinds, lengths, values.

use std::net::{IpAddr, SocketAddr};

use dataplane_common::stun::COOKIE;

use super::Transaction;

/// The attributes of a message, one after another. Where one is cut, that is said and they end.
pub(super) struct Attributes<'a> {
    rest: &'a [u8],
}

/// What hides the address of XOR-MAPPED-ADDRESS.
pub(super) struct Mask([u8; 16]);

impl<'a> Attributes<'a> {
    pub(super) const fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether there are no more.
    pub(super) const fn is_over(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&[k0, k1, l0, l1], after) = self.rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let value = after.get(..length);
        let rest = after.get(length.next_multiple_of(4)..);
        self.rest = rest.unwrap_or_default();
        Some(rest.and(value).map(|value| (u16::from_be_bytes([k0, k1]), value)))
    }
}

impl Mask {
    pub(super) const NONE: Self = Self([0; 16]);

    pub(super) fn of(transaction: &Transaction) -> Self {
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&COOKIE);
        mask[4..].copy_from_slice(transaction);
        Self(mask)
    }
}

/// The address that this value names.
pub(super) fn address(value: &[u8], Mask(mask): &Mask) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p0 ^ mask[0], p1 ^ mask[1]]);
    let plain = address.iter().zip(mask).map(|(byte, mask)| byte ^ mask);
    let plain: Vec<u8> = plain.collect();
    let ip: IpAddr = match (family, address.len()) {
        (1, 4) => <[u8; 4]>::try_from(plain).ok()?.into(),
        (2, 16) => <[u8; 16]>::try_from(plain).ok()?.into(),
        _ => return None,
    };
    Some((ip, port).into())
}

/// Writes an address that is not hidden.
pub(super) fn put_address(message: &mut Vec<u8>, kind: u16, address: SocketAddr) {
    let [p0, p1] = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => {
            put(message, kind, &[&[0, 1, p0, p1], &ip.octets()[..]].concat());
        }
        IpAddr::V6(ip) => {
            put(message, kind, &[&[0, 2, p0, p1], &ip.octets()[..]].concat());
        }
    }
}

/// Writes an attribute.
pub(super) fn put(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    // No value of ours comes near the end of it.
    message.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}
