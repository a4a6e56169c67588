//! The arithmetic that the steering programs and the engine share.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use dataplane_common::{
    IndexMask, MAX_SHARDS, NetworkPrefix, SLOTS, ShardId, Shards, Slot, SteeringParameters,
    receiver_index,
};
use proptest::prelude::*;
use proto::message::{INITIATION_LEN, Message, RESPONSE_LEN};

/// Datagrams that are often messages: right types and lengths, with anything inside.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![Just(INITIATION_LEN), Just(RESPONSE_LEN), Just(64), 0usize..200];
    (0u8..6, 0u8..4, lengths).prop_flat_map(|(kind, reserved, length)| {
        proptest::collection::vec(any::<u8>(), length).prop_map(move |mut bytes| {
            // Reserved bytes are mostly zero.
            let word = [kind, reserved / 3, 0, 0];
            for (byte, new) in bytes.iter_mut().zip(word) {
                *byte = new;
            }
            bytes
        })
    })
}

proptest! {
    #[test]
    fn an_index_names_its_slot(slot in 0..SLOTS, counter: u8, random: u32) {
        let mask = IndexMask::new(random);
        let index = mask.index(Slot(slot), counter);
        prop_assert_eq!(mask.slot(index), Slot(slot));
        prop_assert_eq!(index & 0xff, u32::from(counter));
    }

    #[test]
    fn any_index_names_a_slot(index: u32, random: u32) {
        prop_assert!(IndexMask::new(random).slot(index).0 < SLOTS);
    }

    #[test]
    fn owners_are_shards(slot in 0..SLOTS, count in 1..=MAX_SHARDS) {
        let owner = Shards::new(count).unwrap().owner(Slot(slot));
        prop_assert_eq!(owner, ShardId(slot % count));
    }

    #[test]
    fn parameters_survive_the_map(count in 1..=MAX_SHARDS, random: u32) {
        let shards = Shards::new(count).unwrap();
        let parameters = SteeringParameters { shards, mask: IndexMask::new(random) };
        prop_assert_eq!(SteeringParameters::from_words(parameters.to_words()), Some(parameters));
    }

    /// The offsets here are those of the crate that knows the messages.
    #[test]
    fn receivers_are_where_messages_have_them(bytes in datagram()) {
        let expected = match Message::parse(&bytes) {
            Some(
                Message::Response { receiver, .. }
                | Message::CookieReply { receiver }
                | Message::Data { receiver, .. },
            ) => Some(receiver.0),
            Some(Message::Initiation { .. }) => None,
            // Not a message: any shard may throw it away.
            None => return Ok(()),
        };
        prop_assert_eq!(receiver_index(&bytes[..]), expected);
    }

    #[test]
    fn any_bytes_have_an_owner(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let shards = Shards::new(3).unwrap();
        let parameters = SteeringParameters { shards, mask: IndexMask::new(7) };
        prop_assert!(parameters.shard_of(&bytes[..]).0 < 3);
        let _ = NetworkPrefix::destination(&bytes[..]);
    }
}

#[test]
fn the_layout_of_an_index_is_fixed() {
    let mask = IndexMask::new(0xff00_00f0);
    assert_eq!(mask.index(Slot(0x0012_3456), 0x9a), 0x1234_a69a);
}

#[test]
fn there_is_at_least_one_shard_and_not_too_many() {
    assert_eq!(Shards::new(0), None);
    assert_eq!(Shards::new(1), Some(Shards::ONE));
    assert_eq!(Shards::new(MAX_SHARDS + 1), None);
    assert_eq!(SteeringParameters::from_words([0, 0]), None);
}

#[test]
fn what_names_no_receiver_goes_to_the_first_shard() {
    let shards = Shards::new(3).unwrap();
    let parameters = SteeringParameters { shards, mask: IndexMask::new(0) };
    let mut initiation = vec![1; INITIATION_LEN];
    initiation[1..4].fill(0);
    for datagram in [&[][..], &[4, 0, 0], &[9; 40], &initiation] {
        assert_eq!(parameters.shard_of(datagram), ShardId::FIRST, "{datagram:?}");
    }
}

#[test]
fn destinations_of_both_families() {
    let mut v4 = [0x45; 20];
    v4[16..].copy_from_slice(&[10, 1, 2, 3]);
    assert_eq!(NetworkPrefix::destination(&v4[..]), Some(NetworkPrefix::v4([10, 1, 2, 3], 32)));
    assert_eq!(NetworkPrefix::destination(&v4[..19]), None);

    let mut v6 = [0x60; 40];
    v6[24..].copy_from_slice(&[0xfd; 16]);
    assert_eq!(NetworkPrefix::destination(&v6[..]), Some(NetworkPrefix::v6([0xfd; 16], 128)));
    assert_eq!(NetworkPrefix::destination(&v6[..39]), None);

    assert_eq!(NetworkPrefix::destination(&[0x00; 40][..]), None);
    assert_ne!(NetworkPrefix::v4([0; 4], 0), NetworkPrefix::v6([0; 16], 0));
}
