//! The tables and every node's filter mean what the document says of its names and nodes.
//!
//! `NEARWIRE_POLICY_CASES` is the number of packets to judge, and `NEARWIRE_POLICY_SEED` where the
//! random documents begin.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::collections::BTreeMap;
use std::net::IpAddr;

use policy::{Action, Compiled, Decider, Filter, Node, NodeName, Packet, Plan, Prefix};
use world::World;

const PACKETS_PER_WORLD: u64 = 2_000;
const DEFAULT_PACKETS: u64 = 100_000;

fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")),
        Err(_) => default,
    }
}

/// The nodes through which packets to or from the address pass: the longest prefix counts.
fn through<'a>(address: IpAddr, nodes: &[&'a Node]) -> Vec<&'a Node> {
    let longest = |node: &Node| {
        let own = node.addresses.iter().map(|&ip| Prefix::host(ip));
        let prefixes = own.chain(node.routes.iter().copied());
        prefixes.filter(|p| p.contains(address)).map(|p| p.length()).max()
    };
    let best = nodes.iter().filter_map(|node| longest(node)).max();
    nodes.iter().copied().filter(|node| best.is_some() && longest(node) == best).collect()
}

fn check_world(seed: u64, packets: u64) {
    let mut world = World::new(seed);
    let sections = world.document();
    let nodes = world.nodes();
    let document = sections.parse();
    let plan = Plan::new(document.clone(), &nodes);
    let tables = plan.everything().compile().unwrap();
    let decider = Decider::new(plan.everything()).unwrap();
    let filters: BTreeMap<&NodeName, (Filter, Compiled)> = plan
        .filters()
        .map(|(name, filter)| {
            let compiled = filter.compile().unwrap();
            if let Some(most) = plan.most_table_entries(name) {
                let entries = compiled.table_entries();
                assert!(entries <= most, "{entries} of {most}, seed {seed}: {name}");
            }
            (name, (filter, compiled))
        })
        .collect();
    let all: Vec<&Node> = nodes.iter().collect();
    let addresses: Vec<IpAddr> = all.iter().flat_map(|n| n.addresses.iter().copied()).collect();
    for _ in 0..packets {
        let packet: Packet = world.packet(&addresses);
        let expected = document.first_match(&nodes, &packet);
        let say = || format!("seed {seed}: {packet:?}\n{}\n{nodes:#?}", sections.text());
        let decided = decider.find(&packet).map(|(rule, _)| rule.0 as usize);
        assert_eq!(decided, expected, "without tables, {}", say());
        let found = tables.find(&packet);
        assert_eq!(found.map(|entry| entry.rule.0 as usize), expected, "the tables, {}", say());
        if let Some(entry) = found {
            let action = document.rules()[entry.rule.0 as usize].action;
            assert_eq!(
                (entry.action, decider.find(&packet).map(|by| by.1)),
                (action, Some(action))
            );
        }
        let ends = [packet.source, packet.destination].map(|ip| through(ip, &all));
        if found.is_some_and(|entry| entry.action == Action::Accept) {
            for (from, to) in
                ends[0].iter().flat_map(|from| ends[1].iter().map(move |to| (from, to)))
            {
                let known = plan.neighbours(&from.name).any(|name| *name == to.name);
                assert!(known || from == to, "{} and {}, {}", from.name, to.name, say());
            }
        }
        for node in ends.iter().flatten() {
            let (filter, compiled) = &filters[&node.name];
            let by_filter = filter.first_match(&packet).map(|id| plan.rule(id).unwrap().0);
            assert_eq!(by_filter, expected, "the filter of {}, {}", node.name, say());
            let by_tables = compiled
                .find(&packet)
                .map(|entry| plan.rule(filter.rules()[entry.rule.0 as usize]).unwrap().0);
            assert_eq!(by_tables, expected, "the tables of {}, {}", node.name, say());
        }
    }
}

#[test]
fn documents_filters_and_tables_say_the_same() {
    let packets = from_environment("NEARWIRE_POLICY_CASES", DEFAULT_PACKETS);
    let seed = from_environment("NEARWIRE_POLICY_SEED", 1);
    let worlds = packets.div_ceil(PACKETS_PER_WORLD);
    for world in 0..worlds {
        check_world(seed + world, PACKETS_PER_WORLD.min(packets));
    }
    println!("{} packets of {worlds} documents", worlds * PACKETS_PER_WORLD);
}

#[test]
fn a_filter_survives_the_wire() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        let plan = Plan::new(world.document().parse(), &world.nodes());
        for (_, filter) in plan.filters() {
            let text = serde_json::to_string(&filter).unwrap();
            let read: Filter = serde_json::from_str(&text).unwrap();
            assert_eq!(read, filter);
        }
    }
}
