//! From a compiled policy to the entries of its tables.

use dataplane_common::{
    Address, Class, ExactKey, Identity, PolicyHead, Ports, RuleIndex, RuleKey, Ruling, SIGNPOST,
    Span, TablePrefix,
};
use policy::{Action, Compiled, Entry};

use crate::buckets::Buckets;

/// What the tables of a policy hold, in no order.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) exact: Vec<(ExactKey, u64)>,
    pub(crate) prefixes: Vec<(TablePrefix, u32)>,
    rule_count: u32,
}

impl Layout {
    /// Lays out a policy.
    pub(crate) fn new(compiled: &Compiled) -> Self {
        // `MAX_RULES` of both crates bounds it.
        let rule_count = u32::try_from(compiled.rule_count()).unwrap_or(u32::MAX);
        let mut layout = Self { rule_count, ..Self::default() };
        for (prefix, identity) in compiled.identities() {
            let address = Address::from_bytes(prefix.octets());
            layout.address(
                prefix.length(),
                ExactKey::identity(&address),
                TablePrefix::identity(address, prefix.length()),
                identity.0,
            );
        }
        for (prefix, class) in compiled.classes() {
            let address = Address::from_bytes(prefix.octets());
            layout.address(
                prefix.length(),
                ExactKey::class(&address),
                TablePrefix::class(address, prefix.length()),
                class.0,
            );
        }
        let mut entries: Vec<&Entry> = compiled.entries().iter().collect();
        entries.sort_unstable_by_key(|entry| (group(entry), entry.ports));
        for of_group in entries.chunk_by(|a, b| group(a) == group(b)) {
            layout.ports(of_group);
        }
        layout
    }

    /// What a packet's program reads before the tables, if the hash is filled so.
    pub(crate) fn head(&self, exact: &Buckets) -> PolicyHead {
        PolicyHead::new(self.rule_count, !self.prefixes.is_empty(), exact.count(), exact.seed)
    }

    fn address(&mut self, length: u8, host: ExactKey, prefix: TablePrefix, value: u32) {
        if length == 128 {
            self.exact.push((host, u64::from(value)));
        } else {
            self.prefixes.push((prefix, value));
        }
    }

    /// The entries of one pair and protocol, which are disjoint.
    fn ports(&mut self, entries: &[&Entry]) {
        let Some(first) = entries.first() else { return };
        if let [only] = entries {
            let ports = Ports::one(only.ports.port, only.ports.bits, ruling(only));
            return self.exact.push((ExactKey::ports(&key(only)), ports.0));
        }
        let lengths = || entries.iter().map(|entry| u32::from(entry.ports.bits));
        let span =
            Span { shortest: lengths().min().unwrap_or(1), longest: lengths().max().unwrap_or(16) };
        self.exact.push((ExactKey::ports(&key(first)), Ports::several(span).0));
        let signposts = self.exact.len();
        for entry in entries {
            let bits = u32::from(entry.ports.bits);
            for length in way_to(bits, span) {
                self.exact.push((ExactKey::port(&key(entry), length), SIGNPOST));
            }
        }
        self.exact[signposts..].sort_unstable_by_key(|(key, _)| key.0);
        self.exact.dedup();
        for entry in entries {
            let bits = u32::from(entry.ports.bits);
            self.exact.push((ExactKey::port(&key(entry), bits), ruling(entry).to_number()));
        }
    }
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
