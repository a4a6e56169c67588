//! What the kernel programs have counted.

use aya::{
    Ebpf, Pod,
    maps::{MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use dataplane_common::{DropReason, Generation, RuleCounter, RuleIndex, counter_index};

use crate::{Error, error::chain, object};

/// The counters of the policy programs, summed over the CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// The policy in force.
    pub generation: Generation,
    /// What each of its rules has allowed since it came into force, by the rule's index.
    pub rules: Vec<RuleCounter>,
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

pub(crate) fn read(
    ebpf: &Ebpf,
    generation: Generation,
    rule_count: u32,
) -> Result<Counters, Error> {
    let rules = per_cpu::<[u64; 2]>(ebpf, object::RULES)?;
    let rules = (0..rule_count)
        .map(|rule| {
            let index = counter_index(generation, RuleIndex(rule));
            let words = sum(&rules, object::RULES, index, |mut total, cpu| {
                total[0] += cpu[0];
                total[1] += cpu[1];
                total
            })?;
            Ok(RuleCounter::from_words(words))
        })
        .collect::<Result<_, Error>>()?;

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

/// Clears the counters that the rules of a policy to come will use.
pub(crate) fn clear(ebpf: &mut Ebpf, generation: Generation, rule_count: u32) -> Result<(), Error> {
    let name = object::RULES;
    let failed = |reason| Error::Map { map: name, action: "clear", reason };
    let cpus = nr_cpus().map_err(|(file, error)| failed(format!("{file}: {error}")))?;
    let map = ebpf.map_mut(name).ok_or(Error::Object { name })?;
    let mut counters =
        PerCpuArray::<_, [u64; 2]>::try_from(map).map_err(|error| failed(chain(&error)))?;
    for rule in 0..rule_count {
        let zeros = PerCpuValues::try_from(vec![[0; 2]; cpus])
            .map_err(|error| failed(error.to_string()))?;
        let index = counter_index(generation, RuleIndex(rule));
        counters.set(index, zeros, 0).map_err(|error| failed(chain(&error)))?;
    }
    Ok(())
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
