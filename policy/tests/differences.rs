//! What two policies differ in is told exactly.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::net::IpAddr;

use policy::{Action, AddressRange, Direction, Document, Filter, Nodes, Packet, Plan, difference};
use world::World;

fn accepts(document: &Document, nodes: &Nodes, packet: &Packet) -> bool {
    let rule = document.first_match(nodes, packet);
    rule.is_some_and(|rule| document.rules()[rule].action == Action::Accept)
}

fn everything(document: &Document, nodes: &Nodes) -> Filter {
    Plan::new(document.clone(), nodes).everything()
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
        let (old, new) = (sections.parse(), other.parse());
        let [by_old, by_new] = [&old, &new].map(|document| everything(document, &nodes));
        assert!(difference(&by_old, &by_old).unwrap().is_empty());
        let changes = difference(&by_old, &by_new).unwrap();
        let addresses: Vec<IpAddr> = nodes.iter().flat_map(|n| n.addresses.clone()).collect();
        for _ in 0..600 {
            let packet = world.packet(&addresses);
            if packet.source.is_ipv4() != packet.destination.is_ipv4() {
                continue;
            }
            let expected = match (accepts(&old, &nodes, &packet), accepts(&new, &nodes, &packet)) {
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
    let meant = |rules: &str| {
        let document = Document::parse(&format!("{{ \"acls\": [{rules}] }}")).unwrap();
        everything(&document, &Nodes::default())
    };
    let old = meant(
        r#"{ "action": "accept", "src": ["*"], "dst": ["10.0.0.0/24:20-30"], "proto": "tcp" }"#,
    );
    let new = meant(
        r#"{ "action": "accept", "src": ["10.0.0.0/8"], "dst": ["10.0.0.0/24:25-40"], "proto": "tcp" }"#,
    );
    let said: Vec<String> = difference(&old, &new)
        .unwrap()
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
    let any = meant(r#"{ "action": "accept", "src": ["*"], "dst": ["::/0:*"], "proto": "gre" }"#);
    let changes = difference(&meant(""), &any).unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].sources[0].to_string(), "::/0");
    assert_eq!(changes[0].destinations[0].to_string(), "::/0");
}
