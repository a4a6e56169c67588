//! From a compiled policy to the entries of its tables.

use std::collections::{BTreeSet, HashMap};

use dataplane_common::{
    Address, Class, ExactEntry, ExactKey, Identity, PolicyHead, Ports, RuleIndex, RuleKey, Ruling,
    SIGNPOST, Span, TablePrefix,
};
use policy::{Action, Compiled, Entry};

use crate::buckets::Buckets;

/// What the tables of a policy hold, in no order.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) exact: Vec<ExactEntry>,
    pub(crate) prefixes: Vec<(TablePrefix, u32)>,
    rule_count: u32,
}

impl Layout {
    /// Lays out a policy.
    pub(crate) fn new(compiled: &Compiled) -> Self {
        // `MAX_RULES` of both crates bounds it.
        let rule_count = u32::try_from(compiled.rule_count()).unwrap_or(u32::MAX);
        let mut layout = Self { rule_count, ..Self::default() };
        let mut alone = sole_hosts(compiled);
        for (prefix, identity) in compiled.identities() {
            let address = Address::from_bytes(prefix.octets());
            if prefix.length() < 128 {
                let prefix = TablePrefix::identity(address, prefix.length());
                layout.prefixes.push((prefix, identity.0));
            } else if !alone.contains_key(identity) {
                layout.exact.push(ExactEntry::source(&address, Identity(identity.0), None));
            }
        }
        for (prefix, class) in compiled.classes() {
            let address = Address::from_bytes(prefix.octets());
            if prefix.length() < 128 {
                let prefix = TablePrefix::class(address, prefix.length());
                layout.prefixes.push((prefix, class.0));
            } else {
                layout.exact.push(ExactEntry::new(ExactKey::class(&address), class.0.into()));
            }
        }
        let mut entries: Vec<&Entry> = compiled.entries().iter().collect();
        entries.sort_unstable_by_key(|entry| (group(entry), entry.ports));
        for of_group in entries.chunk_by(|a, b| group(a) == group(b)) {
            let (key, ports) = (key(of_group[0]), layout.ports(of_group));
            layout.exact.push(match alone.remove(&of_group[0].identity) {
                Some(host) => {
                    let rule = (key.class, key.protocol, ports);
                    ExactEntry::source(&host, key.identity, Some(rule))
                }
                None => ExactEntry::new(ExactKey::ports(&key), ports.0),
            });
        }
        // Those of whom no rule speaks.
        let silent = |(identity, host): (policy::Identity, _)| {
            ExactEntry::source(&host, Identity(identity.0), None)
        };
        layout.exact.extend(alone.into_iter().map(silent));
        layout
    }

    /// What a packet's program reads before the tables, if the hash is filled so.
    pub(crate) fn head(&self, exact: &Buckets) -> PolicyHead {
        PolicyHead::new(self.rule_count, !self.prefixes.is_empty(), exact.count(), exact.seed)
    }

    /// Lays out the entries of one pair and protocol, which are disjoint; gives what leads to them.
    fn ports(&mut self, entries: &[&Entry]) -> Ports {
        if let [only] = entries {
            return Ports::one(only.ports.port, only.ports.bits, ruling(only));
        }
        let lengths = || entries.iter().map(|entry| u32::from(entry.ports.bits));
        let span =
            Span { shortest: lengths().min().unwrap_or(1), longest: lengths().max().unwrap_or(16) };
        let signposts = entries.iter().flat_map(|entry| {
            way_to(entry.ports.bits.into(), span)
                .into_iter()
                .map(|length| ExactKey::port(&key(entry), length).0)
        });
        let signposts: BTreeSet<_> = signposts.collect();
        let signposts = signposts.into_iter().map(|key| ExactEntry::new(ExactKey(key), SIGNPOST));
        self.exact.extend(signposts);
        self.exact.extend(entries.iter().map(|entry| {
            let of_port = ExactKey::port(&key(entry), entry.ports.bits.into());
            ExactEntry::new(of_port, ruling(entry).to_number())
        }));
        Ports::several(span)
    }
}

/// The hosts whose identity nobody else has, by that.
fn sole_hosts(compiled: &Compiled) -> HashMap<policy::Identity, Address> {
    let mut owners = HashMap::new();
    for (prefix, identity) in compiled.identities() {
        let host = (prefix.length() == 128).then(|| Address::from_bytes(prefix.octets()));
        owners.entry(*identity).and_modify(|owner| *owner = None).or_insert(host);
    }
    owners.into_iter().filter_map(|(identity, host)| Some((identity, host?))).collect()
}

/// The lengths that the search for a prefix of `bits` passes on its way to longer ones.
fn way_to(bits: u32, mut span: Span) -> Vec<u32> {
    let mut passed = Vec::new();
    while let Some(length) = span.middle() {
        if length == bits {
            break;
        }
        if length < bits {
            passed.push(length);
            span.go_longer(length);
        } else {
            span.go_shorter(length);
        }
    }
    passed
}

fn group(entry: &Entry) -> (policy::Identity, policy::Class, u8) {
    (entry.identity, entry.class, entry.protocol)
}

fn key(entry: &Entry) -> RuleKey {
    RuleKey {
        identity: Identity(entry.identity.0),
        class: Class(entry.class.0),
        protocol: entry.protocol,
        port: entry.ports.port,
    }
}

fn ruling(entry: &Entry) -> Ruling {
    let rule = RuleIndex(entry.rule.0);
    match entry.action {
        Action::Accept => Ruling::allow(rule),
        Action::Deny => Ruling::deny(rule),
    }
}
