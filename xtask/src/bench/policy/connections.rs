//! New TCP connections through the tunnel: a handshake and a reset each, from the rules' sources to
//! the rules' ports. Both stacks and the tunnel have their share in it, whoever filters.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use netns_tests::tcp_connects;

use super::ends::{Ends, Guard, hosts};
use super::filters::Filter;
use super::rules::{HERE, PORTS, Protocol, Rules};
use super::samples::Measure;
use super::{Bench, Found};
use crate::bench::Row;

/// A policy of a size that people have.
pub(super) const RULES: u32 = 10_000;
const TIME: Duration = Duration::from_millis(1500);
/// Of a thousand connections that may fail: a lost packet's second attempt can come too late.
const FORGIVEN: u64 = 5;

/// Who takes part: a list has to be walked through, a set not.
pub(super) const GUARDS: [Guard; 7] = [
    Guard::Nobody,
    Guard::Nearwire,
    Guard::Netfilter(Filter::NftSet),
    Guard::Netfilter(Filter::NftPlain),
    Guard::Netfilter(Filter::Iptables),
    Guard::Netfilter(Filter::IptablesLegacy),
    Guard::Netfilter(Filter::Ipset),
];

/// Those beside whom we stand.
pub(super) fn others() -> impl Iterator<Item = Guard> {
    GUARDS.into_iter().filter(|guard| *guard != Guard::Nearwire)
}

fn connects() -> Measure {
    Measure::new("new TCP connections through the tunnel, 10,000 rules", "connections/s")
}

pub(super) fn measure(bench: &mut Bench) {
    for guard in GUARDS {
        bench.attempt(&format!("TCP connections, {}", guard.name()), |bench| {
            let rate = connect(&bench.nearwire, guard)?;
            Ok::<Vec<Found>, _>(vec![(connects(), guard.name(), rate)])
        });
    }
}

pub(super) fn rows(Bench { samples, .. }: &Bench) -> Vec<Row> {
    others().map(|guard| samples.beside(&connects(), guard.name(), None)).collect()
}

fn connect(nearwire: &Path, guard: Guard) -> Result<f64> {
    let rules = Rules::new(RULES, Protocol::Tcp);
    let hosts = hosts()?;
    let ends = Ends::raise(&hosts, nearwire, guard, &rules)?;
    let listen: Vec<_> = PORTS.map(|port| SocketAddrV4::new(HERE, port)).collect();
    let pair = |number| {
        let (rule, _) = rules.flow(number);
        (at(rule.source, 0), at(HERE, rule.port))
    };
    let connects = tcp_connects(ends.a, ends.b, &listen, TIME, pair)?;
    let (made, failed) = (connects.made, connects.failed);
    ensure!(failed * 1000 <= made * FORGIVEN, "{failed} connections failed, {made} came about");
    Ok(connects.rate())
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}
