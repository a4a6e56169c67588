//! The sets of flows: tags, and how full a table becomes before a flow displaces another.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use dataplane_common::{
    ANSWERED_SETS, Address, Flow, FlowHash, FlowKey, FlowPlace, FlowSet, MAX_FLOWS, Secret, Tag,
    WAYS,
};
use proptest::prelude::*;

const SECRET: Secret = Secret([
    [0x89ab_cdef, 0x0123_4567],
    [0x7654_3210, 0xfedc_ba98],
    [0xfb41_bd6b, 0x1f83_d9ab],
    [0x137e_2179, 0x5be0_cd19],
    [0x5f1d_36f1, 0xa54f_f53a],
]);

fn empty() -> FlowSet {
    let place = FlowPlace { key: FlowKey::from_words([0; 5]), flow: Flow::from_words([0; 8]) };
    FlowSet { tags: [0; 2], places: [place; WAYS] }
}

fn put(set: &mut FlowSet, way: usize, tag: Tag) {
    set.tags[FlowSet::word(way)] ^= set.tag(way).change(tag, way);
}

fn tag(seed: u64) -> Tag {
    FlowHash::of(&FlowKey::from_words([seed, 1, 2, 3, 4]), &SECRET).tag()
}

proptest! {
    #[test]
    fn the_first_place_with_a_tag_is_found(seeds in any::<[u64; WAYS]>(), other in any::<u64>()) {
        let mut set = empty();
        prop_assert_eq!(set.way(Tag::FREE), Some(0));
        for (way, seed) in seeds.into_iter().enumerate() {
            put(&mut set, way, tag(seed));
            let free = if way + 1 < WAYS { Some(way + 1) } else { None };
            prop_assert_eq!(set.way(Tag::FREE), free);
        }
        let first = |wanted| seeds.iter().position(|seed| tag(*seed) == wanted);
        for wanted in seeds.into_iter().chain([other]).map(tag) {
            prop_assert!(wanted.is_taken());
            prop_assert_eq!(set.way(wanted), first(wanted));
        }
        put(&mut set, 5, Tag::BUSY);
        prop_assert_eq!((set.tag(5), set.way(Tag::BUSY)), (Tag::BUSY, Some(5)));
    }
}

/// Flows of one client, which differ in a port and little else.
#[test]
fn three_quarters_find_a_free_place() {
    let mut sets = vec![empty(); usize::try_from(ANSWERED_SETS).unwrap()];
    let peer = Address::from_v4([10, 0, 0, 7]);
    let flows = (0..MAX_FLOWS / 4 * 3).map(|flow| {
        let host = Address::from_v4([10, 0, 1, u8::try_from(flow >> 13).unwrap()]);
        FlowKey::new(6, (host, 443), (peer, u16::try_from(flow & 0x1fff).unwrap()))
    });
    let mut displaced = 0;
    for key in flows {
        let hash = FlowHash::of(&key, &SECRET);
        let [first, second] = hash.sets(ANSWERED_SETS).map(|set| usize::try_from(set).unwrap());
        let set = if sets[first].gives_way_to(&sets[second]) { second } else { first };
        match sets[set].way(Tag::FREE) {
            Some(way) => put(&mut sets[set], way, hash.tag()),
            None => displaced += 1,
        }
    }
    assert!(displaced == 0, "{displaced} flows found no free place");
}
