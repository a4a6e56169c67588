//! The time until a changed policy is in force: one rule of many is another one, the whole document
//! is handed over, from the start of the command to its end.

use std::path::Path;

use anyhow::Result;

use super::dialects;
use super::ends::{Ends, Guard, hosts};
use super::filters::{Filter, timed};
use super::rules::{Protocol, Rules};
use super::samples::{Measure, NEARWIRE, rules as named};
use super::{Bench, Found};
use crate::bench::Row;
use crate::bench::scratch::Scratch;

/// How often in a turn: a large policy is left alone after the first.
const OFTEN: u32 = 4;
const LARGE: u32 = 10_000;

const FILTERS: [Filter; 4] =
    [Filter::NftSet, Filter::NftPlain, Filter::Iptables, Filter::IptablesLegacy];
/// What an administrator of a set would do in place of handing over all of it.
const ONE_ELEMENT: &str = "nftables, one element of the set";

fn time(rules: u32) -> Measure {
    Measure::new(format!("a change of one rule, {}", named(rules)), "ms")
}

pub(super) fn measure(bench: &mut Bench) {
    for count in bench.sizes {
        let title = |who: &str| format!("{who}, a change of {}", named(count));
        bench.attempt(&title(NEARWIRE), |bench| ours(&bench.nearwire, count));
        for filter in FILTERS {
            bench.attempt(&title(filter.name()), |_| theirs(filter, count));
        }
    }
}

pub(super) fn rows(Bench { samples, sizes, .. }: &Bench) -> Vec<Row> {
    let names = FILTERS.map(Filter::name).into_iter().chain([ONE_ELEMENT]);
    let names: Vec<_> = names.collect();
    let of_size = |count| names.iter().map(move |name| samples.beside(&time(count), name, None));
    sizes.iter().flat_map(|count| of_size(*count)).collect()
}

fn repeats(count: u32) -> u32 {
    if count >= LARGE { 1 } else { OFTEN }
}

fn ours(nearwire: &Path, count: u32) -> Result<Vec<Found>> {
    let (rules, hosts) = (Rules::new(count, Protocol::Tcp), hosts()?);
    let ends = Ends::raise(&hosts, nearwire, Guard::Nearwire, &rules)?;
    let scratch = Scratch::new()?;
    let files = [
        scratch.file("changed", &dialects::nearwire(&rules.clone().changed(), ""))?,
        scratch.file("before", &dialects::nearwire(&rules, ""))?,
    ];
    let mut found = Vec::new();
    for file in files.iter().cycle().take(repeats(count) as usize) {
        found.push((time(count), NEARWIRE, apply(&ends, nearwire, file)?));
    }
    Ok(found)
}

/// `nearwire policy apply`, in milliseconds.
pub(super) fn apply(ends: &Ends<'_>, nearwire: &Path, file: &Path) -> Result<f64> {
    let interface = Path::new(ends.tunnel_b.name());
    let words = [nearwire, "policy".as_ref(), "apply".as_ref(), interface, file];
    Ok(timed(ends.b, words)?.as_secs_f64() * 1e3)
}

/// The same of a filter, in a host with no traffic.
fn theirs(filter: Filter, count: u32) -> Result<Vec<Found>> {
    const INTERFACE: &str = "nw0";
    let rules = Rules::new(count, Protocol::Tcp);
    let changed = rules.clone().changed();
    let [host, _] = hosts()?;
    let scratch = Scratch::new()?;
    let files = [
        scratch.file("changed", &filter.text(INTERFACE, &changed))?,
        scratch.file("before", &filter.text(INTERFACE, &rules))?,
    ];
    filter.restore(&host, &files[1])?;
    let mut found = Vec::new();
    for file in files.iter().cycle().take(repeats(count) as usize) {
        let took = filter.restore(&host, file)?;
        found.push((time(count), filter.name(), took.as_secs_f64() * 1e3));
    }
    if filter != Filter::NftSet {
        return Ok(found);
    }
    filter.restore(&host, &files[1])?;
    if let (Some(old), Some(new)) = (rules.last(), changed.last()) {
        let one = [
            scratch.file("one", &dialects::nft_one_element(old, new))?,
            scratch.file("back", &dialects::nft_one_element(new, old))?,
        ];
        for file in one.iter().cycle().take(repeats(count) as usize) {
            let took = filter.restore(&host, file)?;
            found.push((time(count), ONE_ELEMENT, took.as_secs_f64() * 1e3));
        }
    }
    Ok(found)
}
