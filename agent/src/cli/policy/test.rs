//! `nearwire policy test`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use policy::{Action, Failure, Outcome, Packet, Protocols, Selector, has_ports, protocol};
use serde_json::{Value, json};

use super::input::{self, Policy};
use policy::naming::{Names, flow};

/// Run the tests that a policy document has of its own; changes nothing
#[derive(clap::Args)]
#[command(after_help = "\
A test says what the policy has to say, so that a later edit cannot change it unseen:

  \"tests\": [
    { \"src\": \"alice@example.com\", \"accept\": [\"tag:web:443\"], \"deny\": [\"tag:db:5432\"] },
    { \"src\": \"web1\", \"proto\": \"icmp\", \"accept\": [\"10.0.0.9:0\"] },
  ]

Both ends are users, groups, tags, hosts, addresses, or nodes of --nodes. A user or a tag that has no
node is tried with one made up for it. Without \"proto\", TCP or UDP will do. Every address of the one
end is tried with every address of the other.

Exit codes: 0 all hold, 1 one fails, or a file is refused or cannot be read.")]
pub(in crate::cli) struct Args {
    /// The document
    file: PathBuf,
    /// The nodes that it is about
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// One JSON object with every expectation
    #[arg(long)]
    pub(super) json: bool,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let policy = input::policy(&self.file)?;
        let nodes = input::nodes(self.nodes.as_deref())?;
        let outcomes = policy::try_tests(&policy.document, &nodes)?;
        let names = Names::new([&policy.document], &nodes);
        let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
        if self.json {
            let tests: Vec<Value> =
                outcomes.iter().map(|outcome| to_json(outcome, &policy)).collect();
            let summary = json!({ "file": policy.file, "passed": failed == 0, "failed": failed,
                "expectations": tests });
            println!("{summary}");
        } else {
            for outcome in &outcomes {
                if let Some(failure) = &outcome.failure {
                    println!("{}", told(outcome, failure, &policy, &names));
                }
            }
            println!("{}: {failed} of {} expectations failed", policy.file, outcomes.len());
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn told(outcome: &Outcome, failure: &Failure, policy: &Policy, names: &Names) -> String {
    let expected = &outcome.expectation;
    let place = format!("{}:{}", policy.file, expected.line);
    let flow_of = format!("{} -> {} {}", outcome.source, expected.destination, service(outcome));
    let wanted = action(expected.action);
    match failure {
        Failure::NoFlow(reason) => {
            format!("{place}: {flow_of} should be {wanted}, but there is no such flow: {reason}")
        }
        Failure::Decided { packet, rule } => {
            let why = match rule {
                Some(rule) => {
                    let (line, text) = policy.rule(*rule);
                    format!("the rule on line {line} decides: {text}")
                }
                None => "no rule accepts it".to_owned(),
            };
            let flow = flow(packet, names);
            let ends =
                [(&outcome.source, packet.source), (&expected.destination, packet.destination)];
            let made_up: String = ends.iter().filter_map(|(whom, at)| made_up(whom, *at)).collect();
            format!("{place}: {flow_of} should be {wanted}, and is not: {flow}\n    {why}{made_up}")
        }
    }
}

/// What address this is, if no node has it.
fn made_up(whom: &Selector, address: IpAddr) -> Option<String> {
    let whose = match whom {
        Selector::User(_) | Selector::Tag(_) => whom.to_string(),
        Selector::Group(_) => format!("a user of {whom}"),
        _ => return None,
    };
    let said = || format!("\n    {address} was made up for the test: {whose} has no node");
    policy::is_made_up(address).then(said)
}

/// `tcp or udp 22`.
fn service(outcome: &Outcome) -> String {
    let name = |protocol: &Protocols| protocol.of_family(true).map(protocol::name);
    let names: Vec<String> = outcome.protocols.iter().filter_map(name).collect();
    let ports = outcome.protocols.iter().any(|p| p.of_family(true).is_some_and(has_ports));
    let names = names.join(" or ");
    if ports { format!("{names} {}", outcome.expectation.port) } else { names }
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Accept => "accepted",
        Action::Deny => "denied",
    }
}

fn to_json(outcome: &Outcome, policy: &Policy) -> Value {
    let expected = &outcome.expectation;
    let failure = match &outcome.failure {
        None => Value::Null,
        Some(Failure::NoFlow(reason)) => json!({ "reason": reason }),
        Some(Failure::Decided { packet: Packet { source, destination, protocol, port }, rule }) => {
            json!({
                "source": source, "destination": destination, "protocol": protocol, "port": port,
                "line": rule.map(|rule| policy.rule(rule).0),
            })
        }
    };
    json!({
        "line": expected.line, "src": outcome.source.to_string(),
        "dst": expected.destination.to_string(), "port": expected.port,
        "expected": action(expected.action), "passed": outcome.failure.is_none(),
        "failure": failure,
    })
}
