//! From a compiled policy to the kernel's trie.

use aya::maps::{LpmTrie, MapData, lpm_trie::Key};
use dataplane_common::{Address, Class, Identity, RuleKey, TableKey, TablePrefix};
use policy::{Action, Compiled};

use crate::{Error, error::chain, object};

/// The trie's keys and values in the kernel.
pub(crate) type PolicyTrie = LpmTrie<MapData, [u8; size_of::<TableKey>()], u32>;

/// The kernel wants it of every trie.
const BPF_F_NO_PREALLOC: u32 = 1;

/// What the trie of this policy holds.
pub(crate) fn entries(compiled: &Compiled) -> impl Iterator<Item = (TablePrefix, u32)> {
    let identities = compiled.identities().iter().map(|(prefix, identity)| {
        let address = Address(prefix.octets());
        (TablePrefix::identity(address, prefix.length()), identity.0)
    });
    let classes = compiled.classes().iter().map(|(prefix, class)| {
        let address = Address(prefix.octets());
        (TablePrefix::class(address, prefix.length()), class.0)
    });
    // No two entries overlap, so what a deny takes from the others is denied for want of a rule.
    let accepted = compiled.entries().iter().filter(|entry| entry.action == Action::Accept);
    let rules = accepted.map(|entry| {
        let key = RuleKey {
            identity: Identity(entry.identity.0),
            class: Class(entry.class.0),
            protocol: entry.protocol,
            port: entry.ports.port,
        };
        (TablePrefix::rule(key, entry.ports.bits), entry.rule.0)
    });
    identities.chain(classes).chain(rules)
}

/// A new trie that holds this policy. No program sees it yet.
pub(crate) fn fill(compiled: &Compiled) -> Result<PolicyTrie, Error> {
    let failed =
        |action| move |error| Error::Map { map: object::POLICY, action, reason: chain(&error) };
    let count = u32::try_from(entries(compiled).count()).unwrap_or(u32::MAX);
    let mut trie =
        PolicyTrie::create(count.max(1), BPF_F_NO_PREALLOC).map_err(failed("create a trie for"))?;
    for (prefix, value) in entries(compiled) {
        let key = Key::new(prefix.bits, prefix.key.0);
        trie.insert(&key, value, 0).map_err(failed("fill a trie for"))?;
    }
    Ok(trie)
}
