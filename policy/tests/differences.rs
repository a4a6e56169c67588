//! What two policies differ in is told exactly.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::net::IpAddr;

use policy::{
    Action, AddressRange, Compiled, Direction, Document, Packet, compile, compile_with, difference,
};
use world::World;

fn accepts(compiled: &Compiled, packet: &Packet) -> bool {
    compiled.find(packet).is_some_and(|entry| entry.action == Action::Accept)
}

fn holds(ranges: &[AddressRange], address: IpAddr) -> bool {
    let of_family = |range: &&AddressRange| range.first.is_ipv4() == address.is_ipv4();
    ranges.iter().filter(of_family).any(|range| (range.first..=range.last).contains(&address))
}

#[test]
fn every_packet_is_in_the_one_change_that_it_should_be_in() {
    let mut changed = 0;
    for seed in 0..150 {
        let mut world = World::new(seed);
        let nodes = world.nodes();
        let sections = world.document();
        let mut other = sections.clone();
        other.acls.push(world.acl());
        if !other.grants.is_empty() {
            other.grants.remove(0);
        }
        let old = compile_with(&sections.parse(), &nodes).unwrap();
        let new = compile_with(&other.parse(), &nodes).unwrap();
        assert!(difference(&old, &old).is_empty());
        let changes = difference(&old, &new);
        let addresses: Vec<IpAddr> = nodes.iter().flat_map(|n| n.addresses.clone()).collect();
        for _ in 0..600 {
            let packet = world.packet(&addresses);
            if packet.source.is_ipv4() != packet.destination.is_ipv4() {
                continue;
            }
            let expected = match (accepts(&old, &packet), accepts(&new, &packet)) {
                (false, true) => vec![Direction::Gained],
                (true, false) => vec![Direction::Lost],
                _ => Vec::new(),
            };
            let found: Vec<Direction> = changes
                .iter()
                .filter(|change| {
                    holds(&change.sources, packet.source)
                        && holds(&change.destinations, packet.destination)
                        && change.services.iter().any(|service| service.matches(&packet))
                })
                .map(|change| change.direction)
                .collect();
            assert_eq!(
                found,
                expected,
                "seed {seed}: {packet:?}\n{}\n{}",
                sections.text(),
                other.text()
            );
            changed += expected.len();
        }
    }
    assert!(changed > 1_000, "only {changed} packets were in a change");
}

#[test]
fn a_change_is_told_in_few_words() {
    let compiled = |rules: &str| {
        compile(&Document::parse(&format!("{{ \"acls\": [{rules}] }}")).unwrap()).unwrap()
    };
    let old = compiled(
        r#"{ "action": "accept", "src": ["*"], "dst": ["10.0.0.0/24:20-30"], "proto": "tcp" }"#,
    );
    let new = compiled(
        r#"{ "action": "accept", "src": ["10.0.0.0/8"], "dst": ["10.0.0.0/24:25-40"], "proto": "tcp" }"#,
    );
    let said: Vec<String> = difference(&old, &new)
        .iter()
        .map(|change| {
            let list = |ranges: &[AddressRange]| {
                ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            };
            let ports: Vec<String> = change.services.iter().map(|s| s.ports.to_string()).collect();
            let (from, to) = (list(&change.sources), list(&change.destinations));
            format!("{:?} {from} > {to} {}", change.direction, ports.join(" "))
        })
        .collect();
    assert_eq!(
        said,
        [
            "Gained 10.0.0.0/8 > 10.0.0.0/24 31-40",
            "Lost 10.0.0.0/8 > 10.0.0.0/24 20-24",
            "Lost 0.0.0.0-9.255.255.255 11.0.0.0-255.255.255.255 > 10.0.0.0/24 20-30",
        ]
    );
    let any =
        compiled(r#"{ "action": "accept", "src": ["*"], "dst": ["::/0:*"], "proto": "gre" }"#);
    let changes = difference(&compiled(""), &any);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].sources[0].to_string(), "::/0");
    assert_eq!(changes[0].destinations[0].to_string(), "::/0");
}
