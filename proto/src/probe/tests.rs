use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::key::PrivateKey;
use crate::message::Message;
use crate::stun;

const NONCE: Nonce = [5; NONCE_LEN];

fn secret(byte: u8) -> ProbeSecret {
    ProbeSecret::new(&PrivateKey::from([byte; KEY_LEN]))
}

fn ends() -> (Sealer, Sealer) {
    let (a, b) = (secret(1), secret(2));
    (a.with(b.public_key()).unwrap(), b.with(a.public_key()).unwrap())
}

fn address() -> impl Strategy<Value = SocketAddr> {
    // A mapped address is an IPv4 one, which it comes back as.
    any::<SocketAddr>().prop_map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()))
}

fn probe() -> impl Strategy<Value = Probe> {
    let called = proptest::collection::vec(address(), 0..=MAX_CALLED);
    prop_oneof![
        (any::<[u8; 12]>(), 0..2000u16).prop_map(|(id, room)| Probe::Ping { id: PingId(id), room }),
        (any::<[u8; 12]>(), address(), any::<(u32, u32)>()).prop_map(|(id, seen, counts)| {
            let received = Received { expected: counts.0, arrived: counts.1 };
            Probe::Pong(Pong { id: PingId(id), seen, received })
        }),
        (any::<bool>(), any::<bool>(), called, proptest::option::of(address())).prop_map(
            |(hard, answers, at, mapped)| Probe::Call(Call { hard, answers, at, mapped })
        ),
    ]
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_by_the_other_end_alone(probe in probe(), nonce: [u8; NONCE_LEN]) {
        let (a, b) = ends();
        let sealed = a.seal(&probe, nonce);
        prop_assert_eq!(b.open(&sealed), Ok(probe));
        prop_assert_eq!(a.open(&sealed), Err(ProbeError::Seal), "it came back");
        let stranger = secret(3).with(secret(1).public_key()).unwrap();
        prop_assert_eq!(stranger.open(&sealed), Err(ProbeError::Seal));
    }

    #[test]
    fn one_bit_spoils_it(probe in probe(), bit: prop::sample::Index) {
        let (a, b) = ends();
        let mut sealed = a.seal(&probe, NONCE);
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(b.open(&sealed).is_err());
    }

    #[test]
    fn it_is_no_other_message_of_the_port(probe in probe(), nonce: [u8; NONCE_LEN]) {
        let sealed = ends().0.seal(&probe, nonce);
        prop_assert!(is_probe(&sealed) && sealed.len() <= MAX_PROBE);
        prop_assert_eq!(Message::parse(&sealed), None);
        prop_assert!(!stun::is_answer(&sealed));
    }

    #[test]
    fn any_bytes_are_survived(mut bytes: Vec<u8>, head: bool) {
        if head {
            bytes.splice(0..0, [&MAGIC[..], secret(1).public_key().as_bytes()].concat());
        }
        prop_assert!(ends().1.open(&bytes).is_err());
        if let Some(read) = Probe::parse(&bytes) {
            prop_assert_eq!(read.bytes(), bytes);
        }
    }
}

#[test]
fn the_layout_is_this() {
    let at: Vec<SocketAddr> = vec!["192.0.2.1:258".parse().unwrap()];
    let mapped = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01\x01\x02";
    let call = Call { hard: true, answers: false, at: at.clone(), mapped: None };
    assert_eq!(Probe::Call(call).bytes(), [&[3, 1, 1][..], mapped].concat());
    let call = Call { mapped: Some(at[0]), ..Call::default() };
    assert_eq!(Probe::Call(call).bytes(), [&[3, 4, 0][..], mapped].concat());
    let received = Received { expected: 3, arrived: 2 };
    let pong = Pong { id: PingId([9; 12]), seen: "192.0.2.1:258".parse().unwrap(), received };
    let expected = [&[2][..], &[9; 12], mapped, &[0, 0, 0, 3, 0, 0, 0, 2]].concat();
    assert_eq!(Probe::Pong(pong).bytes(), expected);
    let ping = Probe::Ping { id: PingId([9; 12]), room: 2 };
    assert_eq!(ping.bytes(), [&[1][..], &[9; 12], &[0, 0]].concat());
    let sealed = ends().0.seal(&Probe::Ping { id: PingId([9; 12]), room: 0 }, NONCE);
    assert_eq!(sealed.len(), PING_LEN);
    assert_eq!(sealed[6..38], secret(1).public_key().as_bytes()[..]);
    assert_eq!(sealed[38..62], NONCE);
}

#[test]
fn more_than_may_be_is_refused() {
    let at = vec!["192.0.2.1:258".parse().unwrap(); MAX_CALLED + 1];
    let written = Probe::Call(Call { at, ..Call::default() }).bytes();
    let Some(Probe::Call(call)) = Probe::parse(&written) else { panic!("it is cut") };
    assert_eq!(call.at.len(), MAX_CALLED);
    let mut longer = [&written[..], &[0; ADDRESS_LEN]].concat();
    longer[2] += 1;
    assert_eq!(Probe::parse(&longer), None);
    let (a, b) = ends();
    let long = a.seal(&Probe::Ping { id: PingId([1; 12]), room: u16::MAX }, NONCE);
    assert_eq!(long.len(), MAX_PROBE);
    assert!(b.open(&long).is_ok());
}

#[test]
fn keys_that_are_none_are_refused() {
    let a = secret(1);
    assert!(a.with(PublicKey::from([0; KEY_LEN])).is_none());
    assert!(a.with(a.public_key()).is_none());
}
