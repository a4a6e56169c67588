//! The tables of a policy in memory, looked up as the kernel looks up its own.

use std::collections::HashMap;

use dataplane_common::{
    ExactKey, Found, Generation, PolicyHead, PolicyTable, TableKey, TablePrefix,
};
use policy::Compiled;

use crate::{buckets::Buckets, layout::Layout};

/// The entries that the kernel's tables would hold.
#[derive(Debug, Default)]
pub struct MemoryTables {
    generation: Generation,
    head: PolicyHead,
    exact: Buckets,
    prefixes: HashMap<(u32, TableKey), u32>,
}

impl MemoryTables {
    /// The tables of a policy under this number.
    #[must_use]
    pub fn new(compiled: &Compiled, generation: Generation) -> Self {
        let layout = Layout::new(compiled);
        let exact = Buckets::of(&layout.exact);
        let head = layout.head(&exact);
        let prefixes =
            layout.prefixes.into_iter().map(|(prefix, value)| ((prefix.bits, prefix.key), value));
        Self { generation, head, exact, prefixes: prefixes.collect() }
    }
}

/// The key with all but its leading bits cleared.
fn leading(TableKey(mut bytes): TableKey, bits: u32) -> TableKey {
    for (start, byte) in (0u32..).step_by(8).zip(&mut bytes) {
        let kept = bits.saturating_sub(start).min(8);
        *byte &= u8::MAX.checked_shl(8 - kept).unwrap_or(0);
    }
    TableKey(bytes)
}

impl PolicyTable for MemoryTables {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn exact(&self, key: &ExactKey) -> Option<Found> {
        self.exact.find(&self.head, key)
    }

    fn longest(&self, prefix: &TablePrefix) -> Option<u32> {
        (0..=prefix.bits)
            .rev()
            .find_map(|bits| self.prefixes.get(&(bits, leading(prefix.key, bits))).copied())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

    use std::collections::BTreeSet;

    use dataplane_common::{Address, FlowKey, Opener, consult};
    use policy::{Action, Document, Packet};

    use super::*;

    /// What the tables say, by the function that the kernel runs.
    fn looked_up(tables: &MemoryTables, packet: &Packet) -> Option<(u32, bool)> {
        let peer = (Address::from(packet.source), 1);
        let host = (Address::from(packet.destination), packet.port);
        let key = FlowKey::new(packet.protocol, host, peer);
        let ruling = consult(tables, &key, Opener::Peer).ruling;
        ruling.map(|ruling| (ruling.rule().0, ruling.allows()))
    }

    #[test]
    fn ports_are_found_as_the_rules_say() {
        let policies = [
            r#"{ "action": "accept", "src": ["*"], "dst": ["10.0.0.2:1-65534"] }"#,
            r#"{ "action": "accept", "src": ["*"], "dst": ["10.0.0.2:0,7,9,65535"] }"#,
            r#"{ "action": "accept", "src": ["10.0.0.1"], "dst": ["10.0.0.2:22,80-90,1000-40000"] },
               { "action": "deny", "src": ["10.0.0.0/24"], "dst": ["10.0.0.2:84-1234"] },
               { "action": "accept", "src": ["10.0.0.0/8"], "dst": ["*:20-33,32768-65535"] }"#,
            r#"{ "action": "deny", "src": ["10.0.0.1"], "dst": ["10.0.0.2:443"] },
               { "action": "accept", "src": ["*"], "dst": ["*:*"] }"#,
        ];
        for acls in policies {
            let document = Document::parse(&format!("{{ \"acls\": [{acls}] }}")).unwrap();
            let compiled = policy::compile(&document).unwrap();
            let tables = MemoryTables::new(&compiled, Generation(1));
            let edges: BTreeSet<u16> = compiled
                .entries()
                .iter()
                .flat_map(|entry| {
                    let last = entry.ports.port
                        | u16::MAX.checked_shr(entry.ports.bits.into()).unwrap_or(0);
                    [entry.ports.port.wrapping_sub(1), entry.ports.port, last, last.wrapping_add(1)]
                })
                .collect();
            for source in ["10.0.0.1", "10.0.0.9", "10.9.9.9", "192.0.2.1", "::1"] {
                for destination in ["10.0.0.2", "10.0.0.3", "fd00::1"] {
                    let ends = (source.parse().unwrap(), destination.parse().unwrap());
                    for port in edges.iter().copied().chain((0..=u16::MAX).step_by(1_021)) {
                        let packet =
                            Packet { source: ends.0, destination: ends.1, protocol: 6, port };
                        let expected = compiled
                            .find(&packet)
                            .map(|entry| (entry.rule.0, entry.action == Action::Accept));
                        assert_eq!(looked_up(&tables, &packet), expected, "{packet:?}");
                    }
                }
            }
        }
    }
}
