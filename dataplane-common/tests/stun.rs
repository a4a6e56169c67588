//! STUN's binding request and its answer, as any client writes and reads them.

use std::net::SocketAddr;

use dataplane_common::{Address, stun};
use proptest::prelude::*;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// CRC-32 bit by bit, unlike the tables of the code under test.
fn fingerprint(message: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in message {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    (!crc ^ 0x5354_554e).to_be_bytes()
}

/// A request with attributes that nobody need know, and a fingerprint or none.
fn request(transaction: [u8; 12], software: &[u8], with_fingerprint: bool) -> Vec<u8> {
    let mut attributes = Vec::new();
    if !software.is_empty() {
        attributes.extend([0x80, 0x22, 0, u8::try_from(software.len()).expect("short")]);
        attributes.extend(software);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    }
    let length = attributes.len() + if with_fingerprint { 8 } else { 0 };
    let length = u16::try_from(length).expect("short").to_be_bytes();
    let mut message = [&[0, 1], &length[..], &COOKIE, &transaction, &attributes].concat();
    if with_fingerprint {
        let sum = fingerprint(&message);
        message.extend([0x80, 0x28, 0, 4]);
        message.extend(sum);
    }
    message
}

fn parse(message: &[u8]) -> Option<stun::Request> {
    stun::parse(message, 0, u32::try_from(message.len()).expect("short"))
}

proptest! {
    #[test]
    fn a_client_learns_its_address(
        transaction: [u8; 12],
        software in proptest::collection::vec(any::<u8>(), 0..60),
        with_fingerprint: bool,
        source: SocketAddr,
    ) {
        let asked = parse(&request(transaction, &software, with_fingerprint));
        let asked = asked.expect("a plain request is answered");
        prop_assert_eq!(asked, stun::Request { transaction, fingerprint: with_fingerprint });
        let address = Address::from(source.ip());
        let length = usize::from(stun::response_length(&asked, address.is_v4()));
        let mut answer = vec![0xee; length];
        prop_assert!(stun::write_response(&mut answer[..], 0, &asked, &address, source.port()));
        prop_assert_eq!(&answer[..2], [1, 1]);
        prop_assert_eq!(usize::from(u16::from_be_bytes([answer[2], answer[3]])) + 20, length);
        prop_assert_eq!(&answer[8..20], transaction);
        let mask = [&COOKIE[..], &transaction].concat();
        let plain: Vec<u8> = answer[28..].iter().zip(&mask).map(|(a, m)| a ^ m).collect();
        let seen = match answer[25] {
            1 => Address::from_v4(*plain.first_chunk().expect("an address")),
            _ => Address::from_bytes(*plain.first_chunk().expect("an address")),
        };
        prop_assert_eq!(seen, address);
        let port = [answer[26] ^ COOKIE[0], answer[27] ^ COOKIE[1]];
        prop_assert_eq!(u16::from_be_bytes(port), source.port());
        if with_fingerprint {
            let (message, sum) = answer.split_at(length - 4);
            prop_assert_eq!(fingerprint(&message[..length - 8]), sum);
        }
        // Without room nothing is said to be written.
        let mut short = vec![0; length - 1];
        prop_assert!(!stun::write_response(&mut short[..], 0, &asked, &address, source.port()));
    }

    #[test]
    fn other_bytes_are_no_request(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(bytes.starts_with(&[0, 1]) && bytes[4..8] == COOKIE || parse(&bytes).is_none());
    }

    #[test]
    fn one_wrong_bit_is_seen_by_the_fingerprint(transaction: [u8; 12], bit in 0..28 * 8_usize) {
        let mut message = request(transaction, &[], true);
        message[bit / 8] ^= 1 << (bit % 8);
        // In the type of the fingerprint: then it is an attribute that nobody need know.
        let other_attribute = (20..22).contains(&(bit / 8));
        let read = parse(&message);
        prop_assert!(read.is_none_or(|read| other_attribute && !read.fingerprint), "{:?}", read);
    }

    #[test]
    fn a_cut_or_longer_message_is_no_request(transaction: [u8; 12], len in 0..60_usize) {
        let whole = request(transaction, b"client", true);
        prop_assume!(len != whole.len());
        let mut message = whole;
        message.resize(len, 0);
        prop_assert_eq!(parse(&message), None);
    }
}
