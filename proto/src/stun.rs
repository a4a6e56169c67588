//! STUN (RFC 8489): where the world sees a port, and what a NAT does to it (RFC 5780).

mod attributes;
mod question;

use std::net::SocketAddr;

use dataplane_common::stun::{
    BINDING_REQUEST, BINDING_SUCCESS, COOKIE, HEADER, XOR_MAPPED_ADDRESS,
};

use attributes::{Attributes, Mask, address};
pub use question::{LONGEST_QUESTION, Question};

const HEADER_LEN: usize = HEADER as usize;

const CHANGE_REQUEST: u16 = 0x0003;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const FINGERPRINT: u16 = 0x8028;
const RESPONSE_ORIGIN: u16 = 0x802b;
const OTHER_ADDRESS: u16 = 0x802c;

/// Names a request, so that only its answer counts.
pub type Transaction = [u8; 12];

/// From where a server is asked to answer: another address or port of its own than it was asked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Another address.
    pub ip: bool,
    /// Another port.
    pub port: bool,
}

/// What an answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The asker's address.
    pub seen: SocketAddr,
    /// The server's second address, if it has one.
    pub other: Option<SocketAddr>,
}

impl Change {
    const IP: u8 = 4;
    const PORT: u8 = 2;

    fn parse(value: &[u8]) -> Option<Self> {
        let &[_, _, _, flags] = <&[u8; 4]>::try_from(value).ok()?;
        Some(Self { ip: flags & Self::IP != 0, port: flags & Self::PORT != 0 })
    }

    const fn flags(self) -> u8 {
        (if self.ip { Self::IP } else { 0 }) | (if self.port { Self::PORT } else { 0 })
    }
}

/// A binding request.
#[must_use]
pub fn request(transaction: &Transaction) -> Vec<u8> {
    [&BINDING_REQUEST[..], &[0, 0], &COOKIE, transaction].concat()
}

/// One that is to be answered from elsewhere.
#[must_use]
pub fn request_from(transaction: &Transaction, change: Change) -> Vec<u8> {
    let [k0, k1] = CHANGE_REQUEST.to_be_bytes();
    let asks = [k0, k1, 0, 4, 0, 0, 0, change.flags()];
    [&BINDING_REQUEST[..], &[0, 8], &COOKIE, transaction, &asks].concat()
}

/// Whether it looks like an answer: a WireGuard message begins with `1 0 0 0` to `4 0 0 0`.
#[must_use]
pub fn is_answer(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[..2] == BINDING_SUCCESS && datagram[4..8] == COOKIE
}

/// What the answer to this request tells.
#[must_use]
pub fn answer(datagram: &[u8], transaction: &Transaction) -> Option<Answer> {
    if !is_answer(datagram) || datagram[8..HEADER_LEN] != transaction[..] {
        return None;
    }
    let (mut seen, mut other) = (None, None);
    for attribute in Attributes::of(&datagram[HEADER_LEN..]) {
        let (kind, value) = attribute?;
        if kind == u16::from_be_bytes(XOR_MAPPED_ADDRESS) {
            seen = seen.or(Some(address(value, &Mask::of(transaction))?));
        } else if kind == OTHER_ADDRESS {
            other = other.or(Some(address(value, &Mask::NONE)?));
        }
    }
    Some(Answer { seen: seen?, other })
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
        let seen = |text: &str| Some(Answer { seen: text.parse().unwrap(), other: None });
        assert_eq!(answer(&v4, &transaction), seen("192.0.2.1:32853"));
        let v6 = b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9";
        let v6 = [&head[..], v6].concat();
        let expected = seen("[2001:db8:1234:5678:11:2233:4455:6677]:32853");
        assert_eq!(answer(&v6, &transaction), expected);
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
