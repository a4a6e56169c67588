//! What the kernel programs have counted.

use aya::{
    Ebpf, Pod,
    maps::{MapData, PerCpuArray},
};
use dataplane_common::{DropReason, Generation, RuleIndex, Traffic, counter_index};

use crate::{Error, error::chain, object, tables};

/// The counters of the policy programs, summed over the CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// The policy in force.
    pub generation: Generation,
    /// What each of its rules has decided since it came into force, by the rule's index.
    pub rules: Vec<Traffic>,
    /// Packets of either direction that a remembered flow let through, since the programs were
    /// loaded.
    pub flow_hits: u64,
    /// Packets dropped since the programs were loaded, for each reason that occurred.
    pub drops: Vec<(DropReason, u64)>,
}

impl Counters {
    /// Packets dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.iter().find(|(dropped, _)| *dropped == reason).map_or(0, |(_, count)| *count)
    }
}

pub(crate) fn read(ebpf: &Ebpf, generation: Generation) -> Result<Counters, Error> {
    let rules = rules(ebpf, generation)?;
    let flow_hits = per_cpu::<u64>(ebpf, object::FLOW_HITS)?;
    let flow_hits = sum(&flow_hits, object::FLOW_HITS, 0, |total, cpu| total + cpu)?;

    let per_reason = per_cpu::<u64>(ebpf, object::DROPS)?;
    let mut drops = Vec::new();
    for reason in DropReason::ALL {
        let count = sum(&per_reason, object::DROPS, reason as u32, |total, cpu| total + cpu)?;
        if count > 0 {
            drops.push((reason, count));
        }
    }
    Ok(Counters { generation, rules, flow_hits, drops })
}

fn rules(ebpf: &Ebpf, generation: Generation) -> Result<Vec<Traffic>, Error> {
    let name = object::RULES;
    let counters = tables::counters(ebpf, generation)?;
    let rule_count = tables::head(ebpf, generation)?.rule_count;
    let cpus = tables::cpus()?;
    (0..rule_count)
        .map(|rule| {
            let mut total = Traffic::default();
            for cpu in 0..cpus {
                let index = counter_index(cpu, rule_count, RuleIndex(rule));
                let words = counters
                    .get(&index, 0)
                    .map_err(|error| tables::map_error(name, "read", &error))?;
                total.add(Traffic::from_words(words));
            }
            Ok(total)
        })
        .collect()
}

fn per_cpu<'a, V: Pod>(
    ebpf: &'a Ebpf,
    name: &'static str,
) -> Result<PerCpuArray<&'a MapData, V>, Error> {
    let map = ebpf.map(name).ok_or(Error::Object { name })?;
    PerCpuArray::try_from(map).map_err(|_| Error::Object { name })
}

fn sum<V: Pod + Default>(
    map: &PerCpuArray<&MapData, V>,
    name: &'static str,
    index: u32,
    add: impl Fn(V, V) -> V,
) -> Result<V, Error> {
    let values = map.get(&index, 0).map_err(|error| Error::Map {
        map: name,
        action: "read",
        reason: chain(&error),
    })?;
    Ok(values.iter().copied().fold(V::default(), add))
}
