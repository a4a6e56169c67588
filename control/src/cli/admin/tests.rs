//! The commands against the API's own document: each route has a command, which can say all that the
//! route takes in its query.

use std::collections::{BTreeMap, BTreeSet};

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    what: What,
}

/// A line for every command, with all that it takes.
const LINES: &[&str] = &[
    "networks list --after a --limit 5",
    "networks create home --v4 10.7.0.0/16 --v6 fd00::/64",
    "networks get N",
    "networks set N --flow-logs 10 --key-lifetime 30d",
    "networks delete N",
    "nodes list N --after a --limit 5",
    "nodes get N NODE",
    "nodes approve N NODE",
    "nodes suspend N NODE",
    "nodes rename N NODE web",
    "nodes tag N NODE tag:web",
    "nodes give N NODE alice@example.com",
    "nodes routes N NODE 10.0.0.0/8",
    "nodes expire N NODE",
    "nodes delete N NODE",
    "keys list N --after a --limit 5",
    "keys create N --tag tag:web --reusable --ephemeral --manual-approval --lasts 1d",
    "keys create N --user alice@example.com --description text",
    "keys revoke N KEY",
    "tokens list --after a --limit 5",
    "tokens create --scope nodes:read --network N --lasts 1d --description text",
    "tokens revoke TOKEN",
    "policy get N",
    "policy get N 3",
    "policy put N FILE --comment text --replaces 2",
    "policy check N FILE",
    "policy versions N --before 3 --limit 5",
    "policy diff N 1 2",
    "policy rollback N 1",
    "relays get",
    "relays get N",
    "relays put FILE",
    "relays put FILE --network N",
    "relays control-keys",
    "relays rotate-control-key --signs-in 2h",
    "relays retire-control-key 1",
    "audit --after 1 --limit 5",
    "audit N --after 1 --limit 5",
    "flows N --node NODE --address 10.0.0.1 --event denied --since 1 --before 9 --limit 5",
];

/// What a line asks.
fn asked(line: &str, file: &str) -> Question {
    let words = line.split(' ').map(|word| if word == "FILE" { file } else { word });
    let line = Line::try_parse_from(["admin"].into_iter().chain(words));
    question(line.unwrap_or_else(|error| panic!("{error}")).what).unwrap()
}

/// A route of the document, with its variables as they are called there.
fn is_of(question: &Question, method: &str, path: &str) -> bool {
    let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
    let same = |(part, own): (&&str, &String)| part.starts_with('{') || part == own;
    question.method.as_str().eq_ignore_ascii_case(method)
        && parts.len() == question.path.len()
        && parts.iter().zip(&question.path).all(same)
}

/// The fields of a body, and of one that is a yes or no, which.
fn said_by(body: &Value) -> Vec<String> {
    let fields = body.as_object().into_iter().flatten();
    fields.map(|(name, value)| field(name, value.as_bool())).collect()
}

fn field(name: &str, value: Option<bool>) -> String {
    value.map_or_else(|| name.to_owned(), |value| format!("{name}: {value}"))
}

/// The fields that the body of a route may have, and of those that are a yes or no, which change anything.
fn taken_by(document: &Value, route: &Value) -> BTreeSet<String> {
    let schema = &route["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    let Some(name) = schema.as_str().and_then(|path| path.rsplit('/').next()) else {
        return BTreeSet::new();
    };
    let fields = document["components"]["schemas"][name]["properties"].as_object().unwrap();
    let of = |(name, schema): (&String, &Value)| {
        let is_flag = schema["type"].to_string().contains("boolean");
        // Who does not say it does not change it, or means no.
        let is_change = schema["type"].is_array();
        match (is_flag, name.as_str()) {
            (true, "expire") => vec![field(name, Some(true))],
            (true, _) if is_change => [true, false].map(|yes| field(name, Some(yes))).into(),
            (true, _) => vec![field(name, Some(true))],
            (false, _) => vec![name.clone()],
        }
    };
    fields.iter().flat_map(of).collect()
}

#[test]
fn every_route_has_a_command_that_can_say_all_that_it_takes() {
    let file = std::env::temp_dir().join(format!("nearwire-admin-{}", std::process::id()));
    std::fs::write(&file, "{ \"regions\": [] }").unwrap();
    let questions: Vec<Question> =
        LINES.iter().map(|line| asked(line, file.to_str().unwrap())).collect();
    std::fs::remove_file(&file).unwrap();
    let document = serde_json::to_value(crate::api::openapi()).unwrap();
    let mut used = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, route) in item.as_object().unwrap() {
            let of_route: BTreeMap<usize, &Question> =
                questions.iter().enumerate().filter(|(_, q)| is_of(q, method, path)).collect();
            assert!(!of_route.is_empty(), "no command asks {method} {path}");
            let said: BTreeSet<&str> =
                of_route.values().flat_map(|q| q.query.iter().map(|(name, _)| *name)).collect();
            let taken = route["parameters"].as_array().into_iter().flatten();
            let taken = taken.filter(|parameter| parameter["in"] == "query");
            let taken: BTreeSet<&str> = taken.map(|p| p["name"].as_str().unwrap()).collect();
            assert_eq!(said, taken, "the query of {method} {path}");
            let said = of_route.values().flat_map(|question| question.body.as_ref());
            let said: BTreeSet<String> = said.flat_map(said_by).collect();
            let taken = taken_by(&document, route);
            assert!(said.is_superset(&taken), "the body of {method} {path}: {said:?}, {taken:?}");
            let names = |of: &BTreeSet<String>| -> BTreeSet<String> {
                of.iter().map(|field| field.split(": ").next().unwrap().to_owned()).collect()
            };
            assert_eq!(names(&said), names(&taken), "the body of {method} {path}");
            used.extend(of_route.keys().copied());
        }
    }
    let unused = (0..LINES.len()).find(|at| !used.contains(at));
    assert_eq!(unused.map(|at| LINES[at]), None, "it asks what is no route");
}

/// The paths of all commands, as `policy get`.
fn commands(of: &clap::Command, path: &str, all: &mut BTreeSet<String>) {
    let path = |name: &str| [path, name].join(" ").trim().to_owned();
    for command in of.get_subcommands().filter(|command| command.get_name() != "help") {
        if command.has_subcommands() {
            commands(command, &path(command.get_name()), all);
        } else {
            all.insert(path(command.get_name()));
        }
    }
}

#[test]
fn the_lines_have_every_command() {
    let mut all = BTreeSet::new();
    commands(&<Line as clap::CommandFactory>::command(), "", &mut all);
    let is_of = |line: &&str, name: &str| {
        line.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    for name in all {
        assert!(LINES.iter().any(|line| is_of(line, &name)), "no line for {name}");
    }
}
