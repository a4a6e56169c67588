//! A mesh whose rules are too many for one gateway, and ordinary for each of its nodes: it is tried,
//! accepted and compared. Debug builds run 1,500 nodes, optimised ones 10,000 and 100,000 rules, in
//! seconds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod machines;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use policy::{
    AddressRange, Change, CompileError, Document, Nodes, Plan, compile_with, difference, try_tests,
};

use machines::v4;

const NODES: usize = if cfg!(debug_assertions) { 1_500 } else { 10_000 };
const RULES: usize = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
/// As an operator waits for an answer.
const MOST: Duration = Duration::from_secs(10);

fn timed<T>(step: &str, run: impl FnOnce() -> T) -> T {
    machines::timed(step, MOST, run)
}

/// People with a machine each; every tenth is tagged.
fn nodes() -> Nodes {
    machines::nodes(NODES, |node| match node % 10 {
        0 => format!("\"tags\": [\"tag:t{}\"]", node / 10 % 100),
        _ => format!("\"user\": \"user{node}@example.com\""),
    })
}

fn acl(src: &str, dst: &str, more: &str) -> String {
    format!("{{ \"action\": \"accept\", \"src\": [{src:?}], \"dst\": [{dst:?}]{more} }}")
}

/// To one's own machines, to those of all others, hosts outside, and between single machines.
fn rules() -> Vec<String> {
    let icmp = ", \"proto\": \"icmp\"";
    let mut rules = vec![
        acl("autogroup:member", "autogroup:self:*", ""),
        acl("autogroup:member", "autogroup:member:22", ""),
        acl("*", "*:*", icmp),
    ];
    rules.extend((0..1_100).map(|host| {
        acl(&format!("10.0.{}.{}", host / 256, host % 256), &format!("*:{}", 1_000 + host % 50), "")
    }));
    let group = |rule: usize| format!("group:g{}", rule % 50);
    let between = |rule: usize| match rule % 4 {
        0 => acl(&group(rule / 4), &format!("tag:t{}:{}", rule / 200 % 100, 1 + rule / 20_000), ""),
        _ => acl(&v4(rule % NODES), &format!("{}:{}", v4(rule * 7 % NODES), 1 + rule % 60_000), ""),
    };
    rules.extend((rules.len()..RULES).map(between));
    rules
}

fn document(rules: &[String]) -> Document {
    let mut text = String::from("{ \"groups\": {\n");
    for group in 0..50 {
        let users = (0..NODES).filter(|node| node % 10 != 0 && node % 50 == group);
        let users: Vec<String> = users.map(|node| format!("\"user{node}@example.com\"")).collect();
        writeln!(text, "\"group:g{group}\": [{}],", users.join(", ")).unwrap();
    }
    text.push_str("}, \"tagOwners\": {");
    for tag in 0..100 {
        writeln!(text, "\"tag:t{tag}\": [],").unwrap();
    }
    text.push_str("}, \"acls\": [\n");
    for rule in rules {
        writeln!(text, "{rule},").unwrap();
    }
    text.push_str(
        "], \"tests\": [
        { \"src\": \"user1@example.com\", \"accept\": [\"user2@example.com:22\"], \"deny\": [\"user2@example.com:23\"] },
        { \"src\": \"group:g1\", \"deny\": [\"tag:t1:23\"] },
        { \"src\": \"10.0.0.1\", \"accept\": [\"user7@example.com:1001\"] },
        { \"src\": \"autogroup:member\", \"proto\": \"icmp\", \"accept\": [\"tag:t1:0\"] },
    ] }",
    );
    timed("parse", || Document::parse(&text))
        .unwrap_or_else(|errors| panic!("{}", policy::render("policy", &text, &errors)))
}

#[test]
fn what_no_gateway_could_enforce_is_tried_and_accepted() {
    let (nodes, document) = (nodes(), document(&rules()));
    let gateway = timed("a gateway", || compile_with(&document, &nodes));
    assert!(matches!(gateway, Err(CompileError::TooManyEntries { .. })));
    let outcomes = timed("tests", || try_tests(&document, &nodes)).unwrap();
    assert_eq!(outcomes.len(), 5);
    assert!(outcomes.iter().all(|outcome| outcome.failure.is_none()), "{outcomes:#?}");
    let plan = timed("plan", || Plan::new(document, &nodes));
    assert_eq!(timed("each node", || plan.unfit()), None);
    // So it is, of one that has much of all.
    let filter = plan.filter(&policy::NodeName::parse("n1").unwrap()).unwrap();
    assert!(filter.compile().unwrap().table_entries() > NODES);
}

/// Each node sees others open other ports to it, but its own user's: as many differences as pairs.
#[test]
fn what_changes_between_all_of_them_is_told() {
    let nodes = nodes();
    let plan = |rules: &[String]| Plan::new(document(rules), &nodes).everything();
    let before = rules();
    let old = plan(&before);
    let mut after = before.clone();
    after[1] = acl("autogroup:member", "autogroup:member:2222", "");
    let changes = {
        let new = plan(&after);
        timed("all pairs", || difference(&old, &new)).unwrap()
    };
    let (from, to) = ("100.64.0.1".parse().unwrap(), "100.64.0.2".parse().unwrap());
    let said = |changes: &[Change], from, to| -> Vec<String> {
        let holds = |ranges: &[AddressRange], at: IpAddr| {
            ranges.iter().any(|range| range.first <= at && at <= range.last)
        };
        let between =
            changes.iter().filter(|c| holds(&c.sources, from) && holds(&c.destinations, to));
        between.map(|c| format!("{:?} {}", c.direction, c.services[0].ports)).collect()
    };
    assert_eq!(said(&changes, from, to), ["Gained 2222", "Lost 22"]);
    assert_eq!(said(&changes, from, from), [""; 0]);
    let all: usize = changes.iter().map(|c| c.sources.len() * c.destinations.len()).sum();
    println!("{} changes of {all} pairs of ranges", changes.len());

    after.truncate(RULES - 10);
    after[1].clone_from(&before[1]);
    let new = plan(&after);
    let few = timed("few pairs", || difference(&old, &new)).unwrap();
    assert!((1..=40).contains(&few.len()), "{}", few.len());
}

#[test]
fn a_node_with_too_much_is_named_with_the_rule() {
    let wide = |rule: usize| acl(&format!("10.{}.{}.0/24", rule / 256, rule % 256), "tag:t1:*", "");
    let mut rules: Vec<String> = (0..1_500).map(wide).collect();
    let ports: Vec<String> = (0..512).map(|port| (1 + 4 * port).to_string()).collect();
    rules.insert(7, acl("*", &format!("tag:t1:{}", ports.join(",")), ""));
    let document = document(&rules);
    let plan = Plan::new(document, &nodes());
    let unfit = timed("too much", || plan.unfit()).unwrap();
    let tagged = plan.nodes().find(|node| node.name == unfit.node).unwrap();
    assert!(format!("{:?}", tagged.identity).contains("tag:t1"), "{tagged:?}");
    let CompileError::TooManyEntries { widest, .. } = unfit.error else { panic!("{unfit}") };
    assert_eq!(widest.0, 7, "{unfit}");
}
