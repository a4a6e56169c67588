//! The kernel's program alone: what one packet costs, by the kernel's own test runs.
//!
//! A packet that is judged again and again finds all it needs in the nearest cache. What else runs on
//! the core's other half, or on the machine below, only ever adds to that, and comes and goes: so there
//! are many short runs some time apart, of which in each turn the quickest counts, as for Python's
//! `timeit` and for the same reason. The median is told beside it. Packets of many flows, each judged once with a system call
//! between, do not find it: those are the honest times of a miss, and there the median counts.
//! What a single run takes to read the clock is found by a packet that is dropped at its first byte.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use dataplane::{Action, Direction, PolicyPrograms};
use policy::Document;

use super::dialects;
use super::rules::{HERE, Protocol, Rule, Rules, stranger};
use super::samples::{Measure, NEARWIRE, rules as named};
use super::{Bench, Found};
use crate::bench::{Reach, Row, median};

/// Runs of one packet that is judged again and again, how often in each, and the time between.
const RUNS: u32 = 300;
const AGAIN: u32 = 10_000;
const PAUSE: Duration = Duration::from_millis(5);
/// Single packets: more than a table of flows has room for, so that it has to evict.
const SINGLE: u32 = 80_000;

/// The first byte of the TCP header's flags.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn hit(rules: u32) -> Measure {
    Measure::new(format!("known flow, {}", named(rules)), "ns")
}

fn hit_median(rules: u32) -> Measure {
    Measure::new(format!("the same, median of all runs, {}", named(rules)), "ns")
}

fn new_flow(rules: u32) -> Measure {
    Measure::new(format!("new flow, allowed, {}", named(rules)), "ns")
}

fn denied(rules: u32) -> Measure {
    Measure::new(format!("new flow, denied, {}", named(rules)), "ns")
}

fn denied_again(rules: u32) -> Measure {
    Measure::new(format!("one packet denied again and again, {}", named(rules)), "ns")
}

fn clock() -> Measure {
    Measure::new("reading the clock, subtracted from single runs", "ns")
}

fn nothing(rules: u32) -> Measure {
    Measure::new(format!("of it, what an empty program's test run takes, {}", named(rules)), "ns")
}

fn first_byte() -> Measure {
    Measure::new("what is no IP packet, denied again and again", "ns")
}

pub(super) fn measure(bench: &mut Bench) {
    for count in bench.sizes {
        bench.once(&format!("test runs, {}", named(count)), |_| test_runs(count));
    }
}

pub(super) fn rows(Bench { samples, sizes, .. }: &Bench) -> Vec<Row> {
    let [few, _, most] = *sizes;
    let mut rows = Vec::new();
    rows.extend(sizes.map(|count| samples.alone(&hit(count), Some(Reach::AtMost(40.0)))));
    rows.extend(sizes.map(|count| samples.alone(&nothing(count), None)));
    rows.extend(sizes.map(|count| samples.alone(&hit_median(count), None)));
    rows.extend([few, sizes[1]].map(|count| samples.alone(&new_flow(count), None)));
    rows.push(samples.against(
        &new_flow(most),
        &named(few),
        &new_flow(few),
        NEARWIRE,
        Some(Reach::AtMost(1.5)),
    ));
    rows.extend(sizes.map(|count| samples.alone(&denied(count), None)));
    rows.extend(sizes.map(|count| samples.alone(&denied_again(count), None)));
    rows.push(samples.alone(&first_byte(), None));
    rows.push(samples.alone(&clock(), None));
    rows
}

/// What a packet of many runs took.
struct Runs {
    quick: f64,
    median: f64,
}

fn runs(mut run: impl FnMut() -> Result<f64>) -> Result<Runs> {
    let run = |_| {
        thread::sleep(PAUSE);
        run()
    };
    let mut times = (0..RUNS).map(run).collect::<Result<Vec<_>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(Runs { quick: times[0], median: times[times.len() / 2] })
}

fn test_runs(count: u32) -> Result<Vec<Found>> {
    let rules = Rules::new(count, Protocol::Tcp);
    let mut programs = load(&rules)?;
    let nothing_time = runs(|| Ok(programs.time_nothing(&[0; 40], AGAIN)?.as_secs_f64() * 1e9))?;
    let nanos = |packet: &[u8], repeat, expected| -> Result<f64> {
        let (action, time) = programs.time(Direction::In, packet, repeat)?;
        ensure!(action == expected, "a packet should {expected:?} and does {action:?}");
        Ok(time.as_secs_f64() * 1e9)
    };
    let again = |packet: &[u8], expected| runs(|| nanos(packet, AGAIN, expected));
    let singles = |packet: &dyn Fn(u32) -> [u8; 40], expected| -> Result<f64> {
        let times = (0..SINGLE).map(|number| nanos(&packet(number), 1, expected));
        Ok(median(&times.collect::<Result<Vec<_>>>()?).unwrap_or_default())
    };

    let shapeless = [0; 40];
    let floor = again(&shapeless, Action::Drop)?;
    let clock_time = singles(&|_| shapeless, Action::Drop)? - floor.quick;

    let allowed = |number| {
        let (rule, port) = rules.flow(number);
        from(&rule, port, SYN)
    };
    // Half are from hosts that no rule names, half to ports of others.
    let refused = |number| match (number % 2, rules.flow(number)) {
        (0, (rule, port)) => from(&Rule { source: stranger(number), ..rule }, port, SYN),
        (_, (rule, port)) => from(&Rule { port: rule.port + 100, ..rule }, port, SYN),
    };
    let denied_time = singles(&refused, Action::Drop)? - clock_time;
    let denied_again_time = again(&refused(0), Action::Drop)?;
    let new_time = singles(&allowed, Action::Pass)? - clock_time;

    let live = open(&programs, &rules.flow(0).0)?;
    let before = programs.counters()?.flow_hits;
    let hit_time = again(&live, Action::Pass)?;
    let hits = programs.counters()?.flow_hits - before;
    let packets = u64::from(RUNS) * u64::from(AGAIN);
    ensure!(hits >= packets, "of {packets} packets of a live flow {hits} were known");

    let ours = |measure: Measure, value| (measure, NEARWIRE, value);
    Ok(vec![
        ours(hit(count), hit_time.quick),
        ours(nothing(count), nothing_time.quick),
        ours(hit_median(count), hit_time.median),
        ours(new_flow(count), new_time),
        ours(denied(count), denied_time),
        ours(denied_again(count), denied_again_time.quick),
        ours(first_byte(), floor.quick),
        ours(clock(), clock_time),
    ])
}

/// The programs, with these rules in force.
fn load(rules: &Rules) -> Result<PolicyPrograms> {
    Ok(PolicyPrograms::load(&compiled(rules)?)?)
}

/// What the daemon makes of the rules' document.
pub(super) fn compiled(rules: &Rules) -> Result<policy::Compiled> {
    let text = dialects::nearwire(rules, "");
    let document = Document::parse(&text)
        .map_err(|errors| anyhow::anyhow!("{}", policy::render("policy", &text, &errors)))?;
    Ok(policy::compile(&document)?)
}

/// Opens a connection and gives a packet of it.
fn open(programs: &PolicyPrograms, rule: &Rule) -> Result<[u8; 40]> {
    const PORT: u16 = 60_000;
    let answer = tcp(HERE.octets(), rule.source.octets(), [rule.port, PORT], SYN | ACK);
    let data = from(rule, PORT, ACK);
    for (direction, packet) in
        [(Direction::In, from(rule, PORT, SYN)), (Direction::Out, answer), (Direction::In, data)]
    {
        let action = programs.judge(direction, &packet)?;
        ensure!(action == Action::Pass, "a connection does not come about: {direction:?}");
    }
    Ok(data)
}

/// A packet that this rule speaks of.
fn from(rule: &Rule, port: u16, flags: u8) -> [u8; 40] {
    tcp(rule.source.octets(), HERE.octets(), [port, rule.port], flags)
}

/// An IPv4 packet with a TCP header and nothing else.
fn tcp(source: [u8; 4], destination: [u8; 4], [from, to]: [u16; 2], flags: u8) -> [u8; 40] {
    let mut packet = [0; 40];
    packet[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet[20..22].copy_from_slice(&from.to_be_bytes());
    packet[22..24].copy_from_slice(&to.to_be_bytes());
    packet[32..34].copy_from_slice(&[0x50, flags]);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_the_rules_allows_their_packets_and_no_others() {
        let rules = Rules::new(50, Protocol::Tcp);
        let mut model = dataplane::Model::new(&compiled(&rules).unwrap());
        let mut allows = |packet: [u8; 40]| {
            let verdict = model.judge(Direction::In, &packet, dataplane::Nanos(0));
            matches!(verdict, dataplane::Verdict::Allow { .. })
        };
        assert!(rules.iter().all(|rule| allows(from(rule, 9, SYN))));
        let (rule, _) = rules.flow(7);
        assert!(!allows(from(&Rule { port: rule.port + 100, ..rule }, 9, SYN)));
        assert!(!allows(from(&Rule { source: stranger(7), ..rule }, 9, SYN)));
    }
}
