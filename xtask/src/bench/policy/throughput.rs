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

const SECONDS: u32 = 1;
/// How often in a turn the two run that have to be told apart; see [`is_due`].
const ROUNDS: u32 = 6;
/// iperf3's port.
const PORT: u16 = 5201;

fn tcp(rules: u32) -> Measure {
    Measure::new(format!("TCP, 1 stream, {}", named(rules)), "Mbit/s")
}

fn cpu(rules: u32) -> Measure {
    Measure::new(format!("CPU seconds per GB of TCP, both tunnels, {}", named(rules)), "s/GB")
}

/// What part of the throughput is left with most rules. Each run is held against the run without any
/// that was its neighbour: a machine that is slower for a while is slower for both.
fn kept(most: u32) -> Measure {
    Measure::new(format!("part of TCP that {} leave, run by run", named(most)), "of 1")
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
            Err(error) => return bench.notes.missed("TCP", &error),
        }
    }
    let nearwire = bench.nearwire.clone();
    let mut standing: Vec<(Contestant, Ends<'_>)> = Vec::new();
    for (contestant, hosts) in &places {
        let title = title(*contestant);
        match raise(&nearwire, *contestant, hosts) {
            Ok(ends) => standing.push((*contestant, ends)),
            Err(error) => bench.notes.missed(&title, &error),
        }
    }
    for number in 0..ROUNDS {
        round(bench, &standing, number);
        // Those that follow each other do so in the next round, the other way round.
        standing.reverse();
    }
}

fn round(bench: &mut Bench, standing: &[(Contestant, Ends<'_>)], number: u32) {
    let mut done = Vec::new();
    let most = bench.sizes[2];
    for (contestant, ends) in standing.iter().filter(|(who, _)| is_due(*who, most, number)) {
        if bench.attempt(&title(*contestant), |_| run(*contestant, ends)) {
            done.push(*contestant);
        }
    }
    if done.contains(&(Guard::Nobody, 0)) && done.contains(&(Guard::Nearwire, most)) {
        let last = |count, who| bench.samples.of(&tcp(count), who).last().copied();
        let pair = last(most, NEARWIRE).zip(last(0, Guard::Nobody.name()));
        if let Some((with, without)) = pair {
            bench.samples.add(kept(most), NEARWIRE, with / without);
        }
    }
}

/// Whether a contestant runs in this round: without a policy and with most rules always, for that
/// difference is small; others now and then.
fn is_due((guard, count): Contestant, most: u32, round: u32) -> bool {
    let every = match guard {
        Guard::Nobody => 1,
        Guard::Nearwire if count == most => 1,
        Guard::Nearwire => 2,
        Guard::Netfilter(_) => 3,
    };
    round.is_multiple_of(every)
}

pub(super) fn rows(Bench { samples, sizes, .. }: &Bench) -> Vec<Row> {
    let [few, many, most] = *sizes;
    let nobody = Guard::Nobody.name();
    let beside_none = |count| samples.against(&tcp(count), nobody, &tcp(0), nobody, None);
    let mut rows = vec![samples.alone(&kept(most), Some(Reach::AtLeast(0.97)))];
    rows.extend([few, many, most].map(beside_none));
    rows.extend(Filter::ALL.map(|filter| samples.beside(&tcp(most), filter.name(), None)));
    rows.push(samples.against(&cpu(most), nobody, &cpu(0), nobody, None));
    rows.extend(Filter::ALL.map(|filter| samples.beside(&cpu(most), filter.name(), None)));
    rows
}

fn title((guard, count): Contestant) -> String {
    format!("TCP, {}, {}", guard.name(), named(count))
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
    let before = ends.cpu_seconds()?;
    let received = iperf::run(ends.path(), SECONDS, &[]).with_context(|| guard.name())?;
    let used = ends.cpu_seconds()? - before;
    let who = guard.name();
    Ok(vec![
        (tcp(count), who, received.rate / 1e6),
        (cpu(count), who, used / (received.amount / 1e9)),
    ])
}
