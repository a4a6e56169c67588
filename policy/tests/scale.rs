//! Large policies: 10,000 nodes and 100,000 rules, in shapes that hurt. Optimised builds are held
//! to two seconds for each step; others run a tenth of it, for the answers alone.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod machines;

use std::fmt::Write as _;
use std::time::Duration;

use policy::{CompileError, Compiled, Document, Nodes, Plan};

use machines::v4;

/// A tenth where nothing is optimised.
const fn scaled(size: usize) -> usize {
    if cfg!(debug_assertions) { size / 10 } else { size }
}

const MOST: Duration = Duration::from_secs(2);

fn rules() -> usize {
    scaled(100_000).min(policy::MAX_RULES)
}

fn timed<T>(what: &str, step: &str, run: impl FnOnce() -> T) -> T {
    machines::timed(&format!("{what:<12} {step}"), MOST, run)
}

/// Half of them people's, in a hundred groups; half of them tagged, with a hundred tags.
fn nodes(count: usize) -> Nodes {
    machines::nodes(count, |node| {
        if node % 2 == 0 {
            format!("\"user\": \"user{node}@example.com\"")
        } else {
            format!("\"tags\": [\"tag:t{}\"]", node / 2 % 100)
        }
    })
}

fn document(count: usize, rules: impl Iterator<Item = String>) -> Document {
    with_paths(count, rules, std::iter::empty())
}

fn with_paths(
    count: usize,
    rules: impl Iterator<Item = String>,
    paths: impl Iterator<Item = String>,
) -> Document {
    let mut text = String::from("{ \"groups\": {\n");
    for group in 0..100 {
        let users: Vec<String> = (0..count)
            .step_by(2)
            .filter(|node| node / 2 % 100 == group)
            .map(|node| format!("\"user{node}@example.com\""))
            .collect();
        writeln!(text, "\"group:g{group}\": [{}],", users.join(", ")).unwrap();
    }
    text.push_str("}, \"tagOwners\": {");
    for tag in 0..100 {
        writeln!(text, "\"tag:t{tag}\": [],").unwrap();
    }
    text.push_str("}, \"acls\": [\n");
    for rule in rules {
        text.push_str(&rule);
        text.push_str(",\n");
    }
    text.push_str("], \"paths\": [\n");
    for rule in paths {
        text.push_str(&rule);
        text.push_str(",\n");
    }
    text.push_str("] }");
    timed("", "parse", || Document::parse(&text))
        .unwrap_or_else(|errors| panic!("{}", policy::render("policy", &text, &errors)))
}

fn acl(action: &str, src: &str, dst: &str) -> String {
    format!(
        "{{ \"action\": {action:?}, \"src\": [{src:?}], \"dst\": [{dst:?}], \"proto\": \"tcp\" }}"
    )
}

/// The tables for a gateway, and the filters of all nodes with how many flows they have.
fn measure(
    what: &str,
    document: &Document,
    nodes: &Nodes,
) -> (Result<Compiled, CompileError>, usize) {
    let plan = timed(what, "plan", || Plan::new(document.clone(), nodes));
    let flows =
        timed(what, "all filters", || plan.filters().map(|(_, filter)| filter.flows().len()).sum());
    let compiled = timed(what, "tables", || plan.everything().compile());
    if let Ok(compiled) = &compiled {
        let (ids, classes) = (compiled.identities().len(), compiled.classes().len());
        println!(
            "{what:<12} {} entries, {ids} + {classes} prefixes, {flows} flows of nodes",
            compiled.entries().len()
        );
    }
    (compiled, flows)
}

#[test]
fn every_rule_between_its_own_two_hosts() {
    let count = scaled(10_000);
    let nodes = nodes(count);
    let rule = |rule: usize| {
        let (from, to) = (rule % count, (rule * 7 + rule / count + 1) % count);
        acl("accept", &v4(from), &format!("{}:{}", v4(to), 1 + rule % 60_000))
    };
    let document = document(count, (0..rules()).map(rule));
    let (compiled, flows) = measure("host pairs", &document, &nodes);
    assert_eq!(flows, 2 * rules());
    assert_eq!(compiled.unwrap().entries().len(), rules());
}

#[test]
fn every_rule_between_hosts_that_no_other_names() {
    let nodes = nodes(10);
    let far = |number: usize| format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
    let rule = |rule: usize| acl("accept", &far(rule), &format!("{}:22", far(rules() + rule)));
    let document = document(10, (0..rules()).map(rule));
    let (compiled, _) = measure("far pairs", &document, &nodes);
    assert_eq!(compiled.unwrap().entries().len(), rules());
}

#[test]
fn groups_to_tags() {
    let count = scaled(10_000);
    let nodes = nodes(count);
    let per_pair = rules() / 10_000;
    let rule = |rule: usize| {
        let (pair, port) = (rule / per_pair, rule % per_pair);
        let (group, tag) = (pair % 100, pair / 100);
        acl("accept", &format!("group:g{group}"), &format!("tag:t{tag}:{}", 2 * port + 1))
    };
    let document = document(count, (0..rules()).map(rule));
    let (compiled, flows) = measure("groups", &document, &nodes);
    assert_eq!(flows, count * 100 * per_pair);
    assert_eq!(compiled.unwrap().entries().len(), rules());
}

#[test]
fn one_change_among_many() {
    let count = scaled(10_000);
    let nodes = nodes(count);
    let rule = |rule: usize| {
        acl(
            "accept",
            &format!("group:g{}", rule % 100),
            &format!("tag:t{}:{}", rule / 100 % 100, 1 + rule / 10_000),
        )
    };
    let rules: Vec<String> = (0..rules()).map(rule).collect();
    let mut plan = Plan::new(document(count, rules.iter().cloned()), &nodes);

    let mut node = nodes.iter().next().unwrap().clone();
    node.addresses.push("100.127.0.1".parse().unwrap());
    let changed = timed("change", "a node", || plan.set_node(node.clone())).unwrap();
    // A person's node: all that is tagged hears of it.
    assert_eq!(changed.len(), 1 + count / 2);

    let mut other = rules;
    other.insert(other.len() / 2, acl("deny", "group:g1", "tag:t2:7"));
    let document = document(count, other.into_iter());
    let changed = timed("change", "a rule", || plan.set_document(document));
    // The group and the tag.
    assert_eq!(changed.len(), count / 100);
    let filters =
        || changed.iter().map(|name| plan.filter(name).unwrap().flows().len()).sum::<usize>();
    assert!(timed("change", "its filters", filters) > changed.len());
}

/// Each node asks of each other, as where a netmap is made.
#[test]
fn a_thousand_rules_of_paths() {
    let count = scaled(10_000);
    let nodes = nodes(count);
    let rule = |rule: usize| {
        let (group, tag, kind) = (rule % 100, rule / 10, ["direct", "relay"][rule % 2]);
        format!(
            "{{ \"src\": [\"group:g{group}\"], \"dst\": [\"tag:t{tag}\"], \"use\": [{kind:?}] }}"
        )
    };
    let mut plan = Plan::new(document(count, std::iter::empty()), &nodes);
    let document = with_paths(count, std::iter::empty(), (0..1_000).map(rule));
    let changed = timed("paths", "a thousand rules", || plan.set_document(document));
    assert!(changed.len() > count / 2, "{}", changed.len());
    let (mut limited, every) = (0, count / scaled(100).max(1));
    timed("paths", "of a hundred nodes", || {
        for one in nodes.iter().step_by(every) {
            let kinds = nodes.iter().map(|other| plan.path_kinds(&one.name, &other.name));
            limited += kinds.filter(|kinds| !kinds.is_all()).count();
        }
    });
    assert!(limited > count / 10, "{limited}");
}

#[test]
fn a_thousand_prefixes_that_overlap() {
    let count = scaled(10_000);
    let nodes = nodes(count);
    // Forty chains, each of 25 prefixes inside each other.
    let prefix = |number: usize| {
        let (chain, length) = (number / 25 % 40, 8 + number % 25);
        let address = (u32::from(100u8) << 24) | u32::try_from(chain * 406_913).unwrap();
        let mask = u32::MAX << (32 - length);
        format!("{}/{length}", std::net::Ipv4Addr::from(address & mask))
    };
    let rule = |rule: usize| {
        let to = prefix(rule / 1_000 * 13 + rule % 7);
        acl("accept", &prefix(rule % 1_000), &format!("{to}:{}", 2 * (rule / 1_000) + 1))
    };
    let document = document(count, (0..rules() / 10).map(rule));
    let plan = timed("overlapping", "plan", || Plan::new(document.clone(), &nodes));
    let compiled = timed("overlapping", "tables", || plan.everything().compile());
    match compiled {
        Ok(compiled) => println!("overlapping  {} entries", compiled.entries().len()),
        Err(error) => println!("overlapping  {error}"),
    }
}

#[test]
fn one_rule_for_everyone() {
    let count = scaled(10_000);
    let nodes = nodes(count);
    let document = document(count, std::iter::once(acl("accept", "*", "*:*")));
    let (compiled, flows) = measure("everyone", &document, &nodes);
    assert_eq!(flows, 2 * count);
    assert_eq!(compiled.unwrap().entries().len(), 1);
}

#[test]
fn many_denials_between_the_same() {
    let count = scaled(10_000);
    let nodes = nodes(count);
    let rule = |rule: usize| {
        let action = if rule.is_multiple_of(2) { "deny" } else { "accept" };
        let first = rule % 65_000;
        acl(
            action,
            &format!("group:g{}", rule % 10),
            &format!("tag:t{}:{first}-{}", rule % 3, first + 400),
        )
    };
    let document = document(count, (0..rules()).map(rule));
    let (compiled, _) = measure("denials", &document, &nodes);
    assert!(compiled.unwrap().entries().len() > 1_000);
}

#[test]
fn too_much_is_refused_soon() {
    let count = scaled(10_000);
    let nodes = nodes(count);
    let pair = |rule: usize| acl("accept", &v4(rule), &format!("{}:22", v4((rule + 1) % count)));
    let rules = (0..count).map(pair).chain([acl("accept", "*", "*:80")]);
    let document = document(count, rules);
    let plan = timed("refused", "plan", || Plan::new(document.clone(), &nodes));
    let compiled = timed("refused", "tables", || plan.everything().compile());
    if !cfg!(debug_assertions) {
        let Err(CompileError::TooManyEntries { widest, .. }) = compiled else { panic!("compiled") };
        assert_eq!(widest.0 as usize, count, "the rule for everyone");
    }
    // Each node has but a few of them.
    let (_, filter) = plan.filters().next().unwrap();
    assert!(filter.compile().unwrap().entries().len() < 2 * count);
}

#[test]
fn a_rule_takes_few_bytes_on_the_wire() {
    let nodes = nodes(200);
    let rule = |rule: usize| {
        acl("accept", &format!("group:g{}", rule % 100), &format!("tag:t1:{}", 1 + rule % 50))
    };
    let size = |count: usize| {
        let plan = Plan::new(document(200, (0..count).map(rule)), &nodes);
        let filters: Vec<_> = plan.filters().map(|(_, filter)| filter).collect();
        let largest = filters.iter().max_by_key(|filter| filter.flows().len()).unwrap();
        (largest.flows().len(), serde_json::to_string(largest).unwrap().len())
    };
    let ((few, small), (many, large)) = (size(1_000), size(9_000));
    let each = (large - small) / (many - few);
    println!("{each} bytes for each of {} more rules", many - few);
    assert!(each <= policy::Filter::WIRE_BYTES_PER_RULE);
}
