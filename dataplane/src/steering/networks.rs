//! The table of networks: from one to the next by the fewest steps.

use std::collections::BTreeMap;

use aya::maps::{LpmTrie, MapData, MapError, lpm_trie::Key};
use dataplane_common::{NetworkKey, NetworkPrefix, Slot};
use ipnet::IpNet;

use crate::{Error, error::chain, object};

/// The table in the kernel.
pub(super) type Trie<'a> = LpmTrie<&'a mut MapData, [u8; size_of::<NetworkKey>()], u32>;

/// Networks in order, each with the slot of its peer.
type Table = BTreeMap<NetworkPrefix, Slot>;

/// The network as the table has it.
pub(super) fn prefix(network: IpNet) -> NetworkPrefix {
    match network.trunc() {
        IpNet::V4(net) => NetworkPrefix::v4(net.network().octets(), net.prefix_len()),
        IpNet::V6(net) => NetworkPrefix::v6(net.network().octets(), net.prefix_len()),
    }
}

/// One step from a table to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Give(NetworkPrefix, Slot),
    Remove(NetworkPrefix),
}

/// Makes the kernel's table, which now holds `now`, equal to `wanted`; `now` follows each step.
pub(super) fn change(trie: &mut Trie<'_>, now: &mut Table, wanted: &Table) -> Result<(), Error> {
    for step in steps(now, wanted) {
        match step {
            Step::Give(network, slot) => {
                trie.insert(&key(network), slot.0, 0).map_err(failed("write"))?;
                now.insert(network, slot);
            }
            Step::Remove(network) => {
                trie.remove(&key(network)).map_err(failed("remove from"))?;
                now.remove(&network);
            }
        }
    }
    Ok(())
}

/// First what is given, then what goes: a network that was split is never without an owner.
fn steps(now: &Table, wanted: &Table) -> Vec<Step> {
    let given = wanted.iter().filter(|(network, slot)| now.get(network) != Some(slot));
    let gone = now.keys().filter(|network| !wanted.contains_key(network));
    let given = given.map(|(network, slot)| Step::Give(*network, *slot));
    given.chain(gone.map(|network| Step::Remove(*network))).collect()
}

fn key(network: NetworkPrefix) -> Key<[u8; size_of::<NetworkKey>()]> {
    Key::new(network.bits, network.key.0)
}

fn failed(action: &'static str) -> impl Fn(MapError) -> Error {
    move |error| Error::Map { map: object::NETWORKS, action, reason: chain(&error) }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};

    use super::*;

    fn table() -> impl Strategy<Value = Table> {
        let network = (any::<bool>(), 0u8..4, 0u8..=8).prop_map(|(v4, byte, length)| {
            let byte = byte << 6;
            let address = if v4 { format!("{byte}.0.0.0") } else { format!("{byte:x}00::") };
            prefix(format!("{address}/{length}").parse().unwrap())
        });
        btree_map(network, (0u32..3).prop_map(Slot), 0..12)
    }

    proptest! {
        #[test]
        fn steps_lead_from_one_table_to_the_other(now in table(), wanted in table()) {
            let mut then = now.clone();
            for step in steps(&now, &wanted) {
                let before = match step {
                    Step::Give(network, slot) => then.insert(network, slot) != Some(slot),
                    Step::Remove(network) => then.remove(&network).is_some(),
                };
                prop_assert!(before, "{step:?} changes nothing");
            }
            prop_assert_eq!(then, wanted);
        }
    }

    #[test]
    fn host_bits_do_not_count() {
        let prefix = |text: &str| prefix(text.parse().unwrap());
        assert_eq!(prefix("10.1.2.3/8"), prefix("10.0.0.0/8"));
        assert_eq!(prefix("fd00::1/64"), prefix("fd00::/64"));
        assert_ne!(prefix("0.0.0.0/0"), prefix("::/0"));
    }
}
