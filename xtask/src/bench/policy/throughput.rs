//! TCP through the tunnel, with more and more rules at its far end.
//!
//! All tunnels stand at once, each between hosts of its own, and take turns: what one run suffers
//! from the machine, its neighbour suffers too.

use anyhow::{Context as _, Result};
use netns_tests::Host;

use super::ends::{Ends, Guard, hosts};
use super::filters::Filter;
use super::rules::{Protocol, Rule, Rules, THERE};
use super::samples::{Measure, NEARWIRE, rules as named};
use super::{Bench, Found};
use crate::bench::{Reach, Row, iperf};

const SECONDS: u32 = 2;
/// How often in a turn each of ours runs.
const ROUNDS: u32 = 2;
/// iperf3's port.
const PORT: u16 = 5201;

fn tcp(rules: u32) -> Measure {
    Measure::new(format!("TCP, 1 stream, {}", named(rules)), "Mbit/s")
}

/// A contestant: who guards, and by how many rules.
type Contestant = (Guard, u32);

pub(super) fn measure(bench: &mut Bench) {
    let [few, many, most] = bench.sizes;
    let ours = [
        (Guard::Nobody, 0),
        (Guard::Nearwire, most),
        (Guard::Nearwire, many),
        (Guard::Nearwire, few),
    ];
    let others = Filter::ALL.map(|filter| (Guard::Netfilter(filter), most));
    let mut places = Vec::new();
    for contestant in ours.into_iter().chain(others) {
        match hosts() {
            Ok(hosts) => places.push((contestant, hosts)),
            Err(error) => return bench.note(format!("TCP could not be measured: {error:#}")),
        }
    }
    let nearwire = bench.nearwire.clone();
    let mut standing: Vec<(Contestant, Ends<'_>)> = Vec::new();
    for (contestant, hosts) in &places {
        match raise(&nearwire, *contestant, hosts) {
            Ok(ends) => standing.push((*contestant, ends)),
            Err(error) => bench.note(format!("{}: {error:#}", title(*contestant))),
        }
    }
    for round in 0..ROUNDS {
        let ours = |guard: Guard| !matches!(guard, Guard::Netfilter(_));
        for (contestant, ends) in standing.iter().filter(|((g, _), _)| round == 0 || ours(*g)) {
            bench.attempt(&format!("TCP, {}", title(*contestant)), |_| run(*contestant, ends));
        }
    }
}

pub(super) fn rows(Bench { samples, sizes, .. }: &Bench) -> Vec<Row> {
    let [few, many, most] = *sizes;
    let beside_none = |count, reach| {
        samples.against(&tcp(count), Guard::Nobody.name(), &tcp(0), Guard::Nobody.name(), reach)
    };
    let mut rows = vec![beside_none(few, None), beside_none(many, None)];
    rows.push(beside_none(most, Some(Reach::AtLeast(0.97))));
    rows.extend(Filter::ALL.map(|filter| samples.beside(&tcp(most), filter.name(), None)));
    rows
}

fn title((guard, count): Contestant) -> String {
    format!("{}, {}", guard.name(), named(count))
}

fn raise<'h>(
    nearwire: &std::path::Path,
    (guard, count): Contestant,
    hosts: &'h [Host; 2],
) -> Result<Ends<'h>> {
    let rule = Rule { source: THERE, protocol: Protocol::Tcp, port: PORT };
    let rules = Rules::new(count.max(1), Protocol::Tcp).around(rule);
    Ends::raise(hosts, nearwire, guard, &rules)
}

fn run((guard, count): Contestant, ends: &Ends<'_>) -> Result<Vec<Found>> {
    let received = iperf::run(ends.path(), SECONDS, &[]).with_context(|| guard.name())?;
    let who = if guard == Guard::Nearwire { NEARWIRE } else { guard.name() };
    Ok(vec![(tcp(count), who, received.rate / 1e6)])
}
