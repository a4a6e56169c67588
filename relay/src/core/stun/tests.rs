//! Who is answered, with what, and from where.

use std::time::Duration;

use super::*;

fn request() -> Vec<u8> {
    [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat()
}

#[test]
fn a_network_is_given_few_answers_and_strangers_leave_little() {
    let start = Instant::now();
    let mut stun = Stun::new(Vec::new(), start);
    let from = |ip: [u8; 4]| SocketAddr::from((ip, 1000));
    let mut ask = |ip, now| stun.answer(&request(), from(ip), None, now).is_ok();
    let at_once = (0..=255).filter(|host| ask([192, 0, 2, *host], start)).count();
    assert!((50..=101).contains(&at_once), "{at_once} answers to one network");
    assert!(ask([192, 0, 3, 1], start), "another network is answered");
    assert!(ask([192, 0, 2, 1], start + Duration::from_secs(1)));
    // No more at once than the world may ask.
    for network in 0..60_000_u16 {
        let [a, b] = network.to_be_bytes();
        let after = Duration::from_secs(2) + Duration::from_micros(25) * network.into();
        assert!(ask([11, a, b, 1], start + after));
    }
    assert!(stun.askers.iter().all(|askers| askers.len() <= MAX_ASKERS as usize));
    let later = start + Duration::from_secs(9);
    assert!(stun.answer(&request(), from([203, 0, 113, 1]), None, later).is_ok());
    assert_eq!(stun.askers[1].len(), 0, "and nothing for long");
}

#[test]
fn all_networks_together_are_given_a_seconds_answers_and_half_of_one_more() {
    let start = Instant::now();
    let mut stun = Stun::new(Vec::new(), start);
    let mut ask = |ip: [u8; 4], now| {
        stun.answer(&request(), SocketAddr::from((ip, 1000)), None, now).map(drop).err()
    };
    // What one network asks too much is not the world's.
    for _ in 0..100_000 {
        ask([192, 0, 2, 1], start);
    }
    let (mut answers, mut busy) = (0, 0);
    // Four times as many networks as are answered, each asking once.
    for network in 0..400_000_u32 {
        let [_, a, b, c] = network.to_be_bytes();
        let now = start + Duration::from_micros(5) * network;
        match ask([11 + a, b, c, 1], now) {
            None => answers += 1,
            Some(reason) => {
                assert_eq!(reason, DropReason::LaneBusy);
                busy += 1;
            }
        }
    }
    assert!((124_800..=125_001).contains(&answers), "{answers} in two seconds");
    assert_eq!(answers + busy, 400_000);
    let later = start + Duration::from_secs(3);
    assert_eq!(ask([203, 0, 113, 1], later), None, "and the flood leaves nothing behind");
}

#[test]
fn what_is_no_request_is_not_answered() {
    let now = Instant::now();
    let mut stun = Stun::new(Vec::new(), now);
    let from = SocketAddr::from(([192, 0, 2, 1], 9));
    let mut answer = request();
    answer[0] = 1;
    for bytes in [&answer[..], &request()[..19], &[], &[0; 20]] {
        assert_eq!(stun.answer(bytes, from, None, now).err(), Some(DropReason::LaneMalformed));
    }
}

const FIRST: &str = "192.0.2.1:3478";
const OTHER: &str = "198.51.100.1:3479";

/// Asked for this change at one place of a pair, in which kind it is answered and from where.
fn asked(pairs: &[StunPair], at: &str, change: Option<Change>) -> (u8, Option<String>, Vec<u8>) {
    let now = Instant::now();
    let mut stun = Stun::new(pairs.to_vec(), now);
    let bytes = change.map_or_else(request, |change| proto::stun::request_from(&[7; 12], change));
    let asker = SocketAddr::from(([203, 0, 113, 1], 9));
    let answer = stun.answer(&bytes, asker, Some(at.parse().unwrap()), now).unwrap();
    (answer.bytes[1], answer.from.map(|from| from.to_string()), answer.bytes)
}

#[test]
fn an_answer_comes_from_where_it_was_asked_for() {
    let pairs = [StunPair::new(FIRST.parse().unwrap(), OTHER.parse().unwrap()).unwrap()];
    for (ip, port, from) in [
        (false, false, FIRST),
        (false, true, "192.0.2.1:3479"),
        (true, false, "198.51.100.1:3478"),
        (true, true, OTHER),
    ] {
        let (kind, at, bytes) = asked(&pairs, FIRST, Some(Change { ip, port }));
        assert_eq!((kind, at.as_deref()), (1, Some(from)));
        let told = proto::stun::answer(&bytes, &[7; 12]).unwrap();
        assert_eq!(told.other, Some(OTHER.parse().unwrap()));
    }
    let (_, at, bytes) = asked(&pairs, OTHER, None);
    assert_eq!(at.as_deref(), Some(OTHER));
    let told = proto::stun::answer(&bytes, &[7; 12]).unwrap();
    assert_eq!(told.other, Some(FIRST.parse().unwrap()), "as seen from there");
}

#[test]
fn without_a_second_address_a_change_is_refused() {
    let pairs = [StunPair::new(FIRST.parse().unwrap(), OTHER.parse().unwrap()).unwrap()];
    // And at an address that is of no pair.
    for (pairs, at) in [(&[][..], FIRST), (&pairs, "192.0.2.9:3478")] {
        let (kind, from, bytes) = asked(pairs, at, Some(Change::default()));
        assert_eq!((kind, from), (0x11, None));
        assert!(bytes.ends_with(&[0, 10, 0, 2, 0, 3, 0, 0]), "{bytes:?}");
        let (kind, from, bytes) = asked(pairs, at, None);
        assert_eq!((kind, from, bytes.len()), (1, None, 32));
    }
}

#[test]
fn an_answer_is_not_much_longer_than_its_question() {
    let v6 = StunPair::new("[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap());
    let v4 = StunPair::new(FIRST.parse().unwrap(), OTHER.parse().unwrap());
    let now = Instant::now();
    for (pair, at, asker, longest) in [
        (v4.unwrap(), FIRST, "203.0.113.1:9", 56),
        (v6.unwrap(), "[2001:db8::1]:1", "[2001:db8::9]:9", 92),
    ] {
        let mut stun = Stun::new(vec![pair], now);
        let at = Some(at.parse().unwrap());
        let answer = stun.answer(&request(), asker.parse().unwrap(), at, now).unwrap();
        assert_eq!(answer.bytes.len(), longest);
    }
}
