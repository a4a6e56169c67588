//! `nearwire policy explain`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use policy::{
    Action, Compiled, Entry, Nodes, Packet, Plan, PortRange, Prefix, ProtocolPorts, Query,
    RuleIndex,
};
use proto::control::PathKinds;
use serde_json::{Value, json};

use super::input::{self, Policy};
use super::live;
use crate::wg;
use policy::naming::{Names, flow, service};

/// Say what a policy document decides on a flow, and why; changes nothing
#[derive(clap::Args)]
#[command(override_usage = "\
nearwire policy explain [OPTIONS] FILE SRC DST:PORT[/PROTO]
       nearwire policy explain [OPTIONS] --live [IFNAME] SRC DST:PORT[/PROTO]")]
#[command(after_help = "\
SRC and DST are addresses, or names of nodes, hosts, users, groups or tags; of one with several
addresses, every flow is explained.

  nearwire policy explain policy.hujson 100.64.0.1 100.64.0.2:22
  nearwire policy explain policy.hujson fd7a::1 [fd7a::2]:53/udp
  nearwire policy explain policy.hujson --nodes nodes.json laptop tag:web:443
  nearwire policy explain policy.hujson --nodes nodes.json alice@example.com web1/icmp
  nearwire policy explain --live wg0 100.64.0.1 100.64.0.2:22
  nearwire policy explain --live laptop web1:22

With --live, the kernel's own tables are asked: which generation is in force, what the rule has
counted, which flows are open. Where one interface is served, it need not be named. On a node of a
mesh, SRC and DST are addresses or the names of this node and its peers.

Exit codes: 0 it is explained, whatever is decided; 1 there is no answer (the reason is on standard
error).")]
pub(in crate::cli) struct Args {
    /// The document, unless --live is given; who would open the flow; to where (the protocol is tcp if
    /// none is named; one without ports needs none)
    #[arg(value_name = "FILE SRC DST:PORT[/PROTO]", num_args = 1..=3, required = true)]
    words: Vec<String>,
    /// Ask the policy that is in force on this interface
    #[arg(long, value_name = "IFNAME", conflicts_with = "nodes")]
    live: Option<String>,
    /// The nodes that the document is about
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// One JSON object with every flow
    #[arg(long)]
    pub(super) json: bool,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match (&self.live, self.words.as_slice()) {
            (Some(interface), [source, destination]) => {
                live::explain(interface, source, destination, self.json)
            }
            // What follows the option is the first word then.
            (Some(source), [destination]) => {
                live::explain(&wg::only_interface()?, source, destination, self.json)
            }
            (None, [file, source, destination]) => self.explain(file.as_ref(), source, destination),
            (Some(_), _) => bail!("with --live, give SRC and DST:PORT[/PROTO]"),
            (None, _) => bail!("give FILE, SRC and DST:PORT[/PROTO], or --live IFNAME"),
        }
    }

    fn explain(&self, file: &Path, source: &str, destination: &str) -> anyhow::Result<ExitCode> {
        let query = Query::parse(source, destination)?;
        let policy = input::policy(file)?;
        let nodes = input::nodes(self.nodes.as_deref())?;
        let packets = query.packets(&policy.document, &nodes)?;
        let warnings = policy.warnings(&nodes, self.nodes.is_some());
        let plan = Plan::new(policy.document.clone(), &nodes);
        let gateway = policy.gateway(&plan);
        let gateway = gateway.as_ref();
        let rule = |packet: &Packet| policy.document.first_match(&nodes, packet);
        let carried = |packet: &Packet| Carried::of(packet, &policy, &nodes, &plan);
        if self.json {
            let flow = |packet: &Packet| {
                let mut flow = to_json(packet, rule(packet), gateway, &policy);
                flow["carried"] = carried(packet).map_or(Value::Null, |carried| carried.to_json());
                flow
            };
            let flows: Vec<Value> = packets.iter().map(flow).collect();
            println!("{}", json!({ "file": policy.file, "warnings": warnings, "flows": flows }));
        } else {
            input::warn(&warnings);
            let names = Names::new([&policy.document], &nodes);
            for packet in &packets {
                println!("{}", told(packet, rule(packet), gateway, &policy, &names));
                if let Some(carried) = carried(packet) {
                    println!("{}", carried.told());
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// How the packets of two nodes may be carried.
struct Carried {
    kinds: PathKinds,
    /// The line of the rule that says so, and its text.
    rule: Option<(u32, String)>,
    /// The nodes that may relay for both.
    relays: Vec<String>,
}

impl Carried {
    /// Of a flow between nodes' own addresses.
    fn of(packet: &Packet, policy: &Policy, nodes: &Nodes, plan: &Plan) -> Option<Self> {
        let [one, other] = [packet.source, packet.destination].map(|at| nodes.with_address(at));
        let (one, other) = one.zip(other).filter(|(one, other)| one.name != other.name)?;
        let rule = policy.document.path_rule(nodes, one, other);
        let relays = plan.relays_between(&one.name, &other.name);
        Some(Self {
            kinds: rule.map(|rule| rule.kinds).unwrap_or_default(),
            rule: rule.map(|rule| (rule.line, policy.excerpt(rule.span))),
            relays: relays.into_iter().map(ToString::to_string).collect(),
        })
    }

    fn told(&self) -> String {
        let by = match &self.rule {
            Some((line, text)) => format!("by the rule on line {line}: {text}"),
            None => "no rule of paths speaks of them".to_owned(),
        };
        let relays =
            if self.relays.is_empty() { "none".to_owned() } else { self.relays.join(", ") };
        format!("    paths       {} ({by})\n    peer relays {relays}", self.kinds)
    }

    fn to_json(&self) -> Value {
        let rule = self.rule.as_ref().map(|(line, text)| json!({ "line": line, "text": text }));
        json!({ "paths": self.kinds, "rule": rule, "peer_relays": self.relays })
    }
}

/// What the entry covers.
fn covered(entry: &Entry) -> ProtocolPorts {
    let ports = PortRange { first: entry.ports.port, last: entry.ports.last() };
    ProtocolPorts { protocol: entry.protocol, ports }
}

fn is_accepted(rule: Option<usize>, policy: &Policy) -> bool {
    rule.is_some_and(|rule| policy.document.rules()[rule].action == Action::Accept)
}

fn rule_text(rule: usize, policy: &Policy) -> (u32, String) {
    policy.rule(RuleIndex(u32::try_from(rule).unwrap_or(u32::MAX)))
}

fn told(
    packet: &Packet,
    rule: Option<usize>,
    gateway: Result<&Compiled, &String>,
    policy: &Policy,
    names: &Names,
) -> String {
    let verdict = if is_accepted(rule, policy) { "accepted" } else { "denied" };
    let why = match rule {
        Some(rule) => {
            let (line, text) = rule_text(rule, policy);
            format!("by the rule on line {line}: {text}")
        }
        None => "no rule accepts it".to_owned(),
    };
    let looked_up = match gateway {
        Ok(compiled) => looked_up(packet, compiled),
        Err(_) => {
            "    (no look-ups: the whole does not fit into the tables of one gateway)".to_owned()
        }
    };
    format!("{}: {verdict}\n    {why}\n{looked_up}", flow(packet, names))
}

/// How the tables of a gateway come to it.
fn looked_up(packet: &Packet, compiled: &Compiled) -> String {
    let (identity, class) = (compiled.identity(packet.source), compiled.class(packet.destination));
    let by = |prefix: Option<Prefix>| match prefix {
        // An IPv4 address is in it only if it is that of both families.
        Some(Prefix::V6) if packet.source.is_ipv4() => "by *".to_owned(),
        Some(prefix) => format!("by {prefix}"),
        None => "no prefix covers it".to_owned(),
    };
    let found = match compiled.find(packet) {
        Some(entry) => format!("{} -> rule {}", service(&covered(entry)), entry.rule.0),
        None => "nothing".to_owned(),
    };
    format!(
        "    source      identity {} ({})\n    destination class {} ({})\n    between     {found}",
        identity.0,
        by(compiled.source_prefix(packet.source)),
        class.0,
        by(compiled.destination_prefix(packet.destination)),
    )
}

fn to_json(
    packet: &Packet,
    rule: Option<usize>,
    gateway: Result<&Compiled, &String>,
    policy: &Policy,
) -> Value {
    let accepted = is_accepted(rule, policy);
    let rule = rule.map(|rule| {
        let (line, text) = rule_text(rule, policy);
        json!({ "index": rule, "line": line, "text": text })
    });
    let prefix = |prefix: Option<policy::Prefix>| prefix.map(|prefix| prefix.to_string());
    let tables = gateway.ok();
    json!({
        "source": packet.source, "destination": packet.destination,
        "protocol": packet.protocol, "port": packet.port,
        "accepted": accepted, "rule": rule,
        "identity": tables.map(|tables| tables.identity(packet.source).0),
        "identity_prefix": tables.map(|tables| prefix(tables.source_prefix(packet.source))),
        "class": tables.map(|tables| tables.class(packet.destination).0),
        "class_prefix": tables.map(|tables| prefix(tables.destination_prefix(packet.destination))),
        "entry": tables.and_then(|tables| tables.find(packet)).map(|entry| service(&covered(entry))),
        "no_gateway": gateway.err(),
    })
}
