//! A region in which anything happens in any order.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::region::Fleet;
use crate::core::ClientId;

/// What may happen to a region.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// A node comes home to a relay; where it was before, it stays connected.
    Home(usize, u8),
    /// A node leaves a relay.
    Leave(usize, u8),
    /// Nothing passes between two relays any more.
    Cut(usize, usize),
    /// It does again.
    Mend(usize, usize),
    /// So many milliseconds.
    Pass(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let pair = (0..3_usize, 1..3_usize).prop_map(|(a, step)| (a, (a + step) % 3));
    prop_oneof![
        4 => (0..3_usize, 1..6_u8).prop_map(|(at, node)| Happens::Home(at, node)),
        2 => (0..3_usize, 1..6_u8).prop_map(|(at, node)| Happens::Leave(at, node)),
        1 => pair.clone().prop_map(|(a, b)| Happens::Cut(a, b)),
        1 => pair.prop_map(|(a, b)| Happens::Mend(a, b)),
        2 => (10..400_u64).prop_map(Happens::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_has_happened_nodes_are_reached_at_their_latest_homes(
        story in proptest::collection::vec(happens(), 1..40),
    ) {
        let mut fleet = Fleet::new(3);
        // Where nodes are, the latest home last.
        let mut homes: BTreeMap<u8, Vec<(usize, ClientId)>> = BTreeMap::new();
        for event in story {
            match event {
                Happens::Home(at, node) => {
                    // Two homes of one moment would be a draw.
                    fleet.pass(Duration::from_millis(10));
                    let client = fleet.home(at, 1, node);
                    let homes = homes.entry(node).or_default();
                    homes.retain(|home| home.0 != at);
                    homes.push((at, client));
                }
                Happens::Leave(at, node) => {
                    let Some(homes) = homes.get_mut(&node) else { continue };
                    for (_, client) in homes.extract_if(.., |home| home.0 == at) {
                        let relay = &mut fleet.relays[at];
                        relay.run(|relay, now, out| relay.leave(client, now.at, out));
                    }
                    fleet.settle();
                }
                Happens::Cut(a, b) => fleet.cut(a, b),
                Happens::Mend(a, b) => fleet.mend(a, b),
                Happens::Pass(milliseconds) => fleet.pass(Duration::from_millis(milliseconds)),
            }
        }
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            fleet.mend(a, b);
        }
        homes.retain(|_, homes| !homes.is_empty());
        for client in homes.values().flatten() {
            fleet.got(client.0, client.1);
        }
        for (&from, senders) in &homes {
            for &(at, sender) in senders {
                for (&to, receivers) in homes.iter().filter(|(to, _)| **to != from) {
                    fleet.send(at, sender, to, b"x");
                    let (latest, others) = receivers.split_last().unwrap();
                    prop_assert_eq!(fleet.got(latest.0, latest.1).len(), 1, "{} to {}", from, to);
                    for other in others {
                        prop_assert_eq!(fleet.got(other.0, other.1).len(), 0);
                    }
                }
            }
        }
        // Nothing is kept of those who have left.
        for own in 0..3 {
            for other in (0..3).filter(|other| *other != own) {
                let there = homes.values().flatten().filter(|home| home.0 == other).count();
                prop_assert_eq!(fleet.known(own, other), there);
            }
        }
    }
}
