//! STUN (RFC 8489), as who asks needs it: where the world sees a port.

use std::net::{IpAddr, SocketAddr};

use dataplane_common::stun::{
    BINDING_REQUEST, BINDING_SUCCESS, COOKIE, HEADER, XOR_MAPPED_ADDRESS,
};

const HEADER_LEN: usize = HEADER as usize;

/// Names a request, so that only its answer counts.
pub type Transaction = [u8; 12];

/// A binding request.
#[must_use]
pub fn request(transaction: &Transaction) -> Vec<u8> {
    [&BINDING_REQUEST[..], &[0, 0], &COOKIE, transaction].concat()
}

/// Whether it looks like an answer: a WireGuard message begins with `1 0 0 0` to `4 0 0 0`.
#[must_use]
pub fn is_answer(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[..2] == BINDING_SUCCESS && datagram[4..8] == COOKIE
}

/// The address that an answer to this request names.
#[must_use]
pub fn answer(datagram: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    if !is_answer(datagram) || datagram[8..HEADER_LEN] != transaction[..] {
        return None;
    }
    let mut rest = &datagram[HEADER_LEN..];
    while let Some((&[k0, k1, l0, l1], after)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let value = after.get(..len)?;
        if [k0, k1] == XOR_MAPPED_ADDRESS {
            return mapped(value, transaction);
        }
        rest = after.get(len.next_multiple_of(4)..)?;
    }
    None
}

fn mapped(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p0 ^ COOKIE[0], p1 ^ COOKIE[1]]);
    let mask: Vec<u8> = COOKIE.iter().chain(transaction).copied().collect();
    let plain: Vec<u8> = address.iter().zip(&mask).map(|(byte, mask)| byte ^ mask).collect();
    let ip: IpAddr = match family {
        1 => <[u8; 4]>::try_from(plain).ok()?.into(),
        2 => <[u8; 16]>::try_from(plain).ok()?.into(),
        _ => return None,
    };
    Some((ip, port).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_answers_of_rfc_5769_are_read() {
        let transaction = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
        let head = [&BINDING_SUCCESS[..], &[0, 12], &COOKIE, &transaction].concat();
        let v4 = [&head[..], b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43"].concat();
        assert_eq!(answer(&v4, &transaction), Some("192.0.2.1:32853".parse().unwrap()));
        let v6 = b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9";
        let v6 = [&head[..], v6].concat();
        let expected = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        assert_eq!(answer(&v6, &transaction), Some(expected));
        assert_eq!(answer(&v4, &[0; 12]), None, "the answer to another request");
        assert!(!is_answer(&request(&transaction)));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(mut bytes: Vec<u8>, head: bool) {
            if head {
                bytes.splice(0..0, [&BINDING_SUCCESS[..], &[0, 0], &COOKIE, &[7; 12]].concat());
            }
            let _ = answer(&bytes, &[7; 12]);
        }
    }
}
