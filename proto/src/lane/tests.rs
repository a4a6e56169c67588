//! Lane datagrams as bytes and back, and what proves what.

use proptest::prelude::*;

use super::*;

fn lane() -> LaneId {
    LaneId::from_number(0x0102_0304).unwrap()
}

fn bytes(message: LaneMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes);
    bytes
}

fn all(payload: &[u8], number: u64) -> [LaneMessage<'_>; 11] {
    let secret = LaneSecret::from([7; 16]);
    let cookie = Cookie([5; 16]);
    let bound = |address: &str| Bound::new(&secret, lane(), number, address.parse().unwrap(), 30);
    [
        LaneMessage::Data(lane(), payload),
        LaneMessage::Bind(lane()),
        LaneMessage::Challenge(lane(), cookie),
        LaneMessage::Prove(Proof::new(&secret, lane(), cookie, number)),
        LaneMessage::Bound(bound("192.0.2.1:9")),
        LaneMessage::Bound(bound("[2001:db8::1]:9")),
        LaneMessage::Keepalive(lane(), number),
        LaneMessage::Kept(lane(), number),
        LaneMessage::Refused(lane(), LaneRefusal::Unknown),
        LaneMessage::Refused(lane(), LaneRefusal::BadCookie),
        LaneMessage::Refused(lane(), LaneRefusal::NotBound),
    ]
}

#[test]
fn the_layout_is_what_the_page_says() {
    let lens = all(b"x", 1).map(|message| bytes(message).len());
    assert_eq!(lens, [9, 64, 24, 48, 44, 44, 16, 16, 9, 9, 9]);
    assert_eq!(bytes(LaneMessage::Data(lane(), b"x")), b"\xb7nw\x00\x01\x02\x03\x04x");
}

#[test]
fn only_the_secret_and_its_nonce_prove() {
    let (right, wrong) = (LaneSecret::from([1; 16]), LaneSecret::from([2; 16]));
    let proof = Proof::new(&right, lane(), Cookie([5; 16]), 9);
    assert!(proof.is_by(&right) && !proof.is_by(&wrong));
    assert!(!Proof { nonce: 10, ..proof }.is_by(&right));
    assert!(!Proof { cookie: Cookie([6; 16]), ..proof }.is_by(&right));
    let bound = Bound::new(&right, lane(), 9, "192.0.2.1:9".parse().unwrap(), 30);
    assert!(bound.is_by(&right, 9) && !bound.is_by(&right, 10) && !bound.is_by(&wrong, 9));
}

#[test]
fn a_secret_does_not_print() {
    assert_eq!(format!("{:?}", LaneSecret::from([1; 16])), "LaneSecret(hidden)");
}

proptest! {
    #[test]
    fn messages_round_trip(payload in proptest::collection::vec(any::<u8>(), 1..99), n: u64) {
        for message in all(&payload, n) {
            let bytes = bytes(message);
            prop_assert_eq!(LaneMessage::parse(&bytes), Some(message));
            if !matches!(message, LaneMessage::Data(..)) {
                prop_assert_eq!(LaneMessage::parse(&bytes[..bytes.len() - 1]), None);
                let longer = [&bytes[..], &[0]].concat();
                prop_assert_eq!(LaneMessage::parse(&longer), None);
            }
        }
    }

    #[test]
    fn what_is_read_is_what_is_written(kind in 0..9u8, tail in
        proptest::collection::vec(any::<u8>(), 0..70)) {
        let datagram = [&[0xb7, 0x6e, 0x77, kind][..], &tail].concat();
        if let Some(message) = LaneMessage::parse(&datagram) {
            // A bind's padding is not looked at, nor in which form an IPv4 address came.
            if !matches!(message, LaneMessage::Bind(_) | LaneMessage::Bound(_)) {
                prop_assert_eq!(bytes(message), datagram);
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = LaneMessage::parse(&bytes);
    }
}
