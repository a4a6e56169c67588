//! `nearwire policy diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use policy::{Change, Direction, Document, NodeName, Nodes, Plan, ProtocolPorts};
use proto::control::PathKinds;
use serde_json::{Value, json};

use super::input;
use policy::naming::{Names, service};

/// Say who may open which flows by one policy document and not by another; changes nothing
#[derive(clap::Args)]
#[command(after_help = "\
Compares what the documents mean, not how they are written: no output means that they
allow the same. Each line is

  + SOURCES -> DESTINATIONS: SERVICES      the new document allows it, the old one does not
  - SOURCES -> DESTINATIONS: SERVICES      the old document allows it, the new one does not
  + NODES -> RELAYS: relaying              by the new document they may be relayed by these, by the
                                           old one not; and the same with -
  + NODES -> NODES: path direct            by the new document their packets may go by this kind of
                                           path, either way; and the same with -

A name that means one thing in one document and another in the other has its address beside it.

Exit codes: 0 they are compared, 1 a file is refused or cannot be read.")]
pub(in crate::cli) struct Args {
    /// The document that is
    old: PathBuf,
    /// The document that would be
    new: PathBuf,
    /// The nodes that both are about
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// One JSON object: what is gained and what is lost
    #[arg(long)]
    pub(super) json: bool,
}

/// What changes between more pairs of names than this is told as it is.
const MOST_PAIRS: usize = 10_000;
/// So it is of all changes together.
const MOST_PAIRS_OF_ALL: usize = 200_000;

/// Names in place of addresses: direction, sources, destinations, services.
type Named = (Direction, Vec<String>, Vec<String>, Vec<String>);

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (old, new) = (input::policy(&self.old)?, input::policy(&self.new)?);
        let nodes = input::nodes(self.nodes.as_deref())?;
        let [was, is] =
            [&old, &new].map(|policy| Plan::new(policy.document.clone(), &nodes).everything());
        let changes = policy::difference(&was, &is)?;
        let mut warnings = old.warnings(&nodes, self.nodes.is_some());
        for warning in new.warnings(&nodes, self.nodes.is_some()) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        let names = Names::new([&old.document, &new.document], &nodes);
        let mut changes = named(&changes, &names);
        changes.extend(between_nodes(&old.document, &new.document, &nodes));
        if self.json {
            let of = |direction: Direction| -> Vec<Value> {
                let changes = changes.iter().filter(|change| change.0 == direction);
                changes.map(to_json).collect()
            };
            let (gained, lost) = (of(Direction::Gained), of(Direction::Lost));
            println!("{}", json!({ "warnings": warnings, "gained": gained, "lost": lost }));
        } else {
            input::warn(&warnings);
            for (direction, sources, destinations, services) in &changes {
                let sign = match direction {
                    Direction::Gained => '+',
                    Direction::Lost => '-',
                };
                let (from, to, what) = (some(sources), some(destinations), services.join(", "));
                println!("{sign} {from} -> {to}: {what}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The changes by name, those of both families put together: for each pair of names what changes
/// between them, then pairs with equal changes in one line.
fn named(changes: &[Change], names: &Names) -> Vec<Named> {
    let mut between: BTreeMap<(Direction, String, String), BTreeSet<ProtocolPorts>> =
        BTreeMap::new();
    let mut lines: Vec<Named> = Vec::new();
    let mut pairs = 0;
    for change in changes {
        let (sources, destinations) =
            (names.ranges(&change.sources), names.ranges(&change.destinations));
        let of_this = sources.len() * destinations.len();
        if of_this > MOST_PAIRS || pairs + of_this > MOST_PAIRS_OF_ALL {
            let services = change.services.iter().map(service).collect();
            lines.push((change.direction, sources, destinations, services));
            continue;
        }
        pairs += of_this;
        for source in &sources {
            for destination in &destinations {
                let pair = (change.direction, source.clone(), destination.clone());
                between.entry(pair).or_default().extend(&change.services);
            }
        }
    }
    let mut to_one: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for ((direction, source, destination), services) in between {
        to_one.entry((direction, destination, services)).or_default().push(source);
    }
    let mut joined: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for ((direction, destination, services), sources) in to_one {
        joined.entry((direction, sources, services)).or_default().push(destination);
    }
    let line = |((direction, sources, services), destinations): (
        (Direction, Vec<String>, BTreeSet<ProtocolPorts>),
        Vec<String>,
    )| (direction, sources, destinations, services.iter().map(service).collect());
    lines.extend(joined.into_iter().map(line));
    lines.sort();
    // Those that were told as they are may be told once for each family.
    lines.dedup();
    lines
}

/// Which nodes may be relayed by which, and by which kinds of path packets may go, by one document and not by
/// the other.
fn between_nodes(old: &Document, new: &Document, nodes: &Nodes) -> Vec<Named> {
    let says = |document: &Document| document.relays().len() + document.paths().len() > 0;
    if !says(old) && !says(new) {
        return Vec::new();
    }
    let [old, new] = [old, new].map(|document| Plan::new(document.clone(), nodes));
    let names = |names: &[NodeName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let relayed = old.relay_changes(&new).into_iter().map(|change| {
        let what = vec!["relaying".to_owned()];
        (change.direction, names(&change.clients), vec![change.relay.to_string()], what)
    });
    let paths = old.path_changes(&new).into_iter().flat_map(|change| {
        let (gained, lost) = (change.new.without(change.old), change.old.without(change.new));
        let line = |(direction, kinds): (_, PathKinds)| {
            let what: Vec<_> = kinds.iter().map(|kind| format!("path {}", kind.label())).collect();
            (direction, names(&change.nodes), names(&change.others), what)
        };
        let both = [(Direction::Gained, gained), (Direction::Lost, lost)];
        both.into_iter().filter(|(_, kinds)| !kinds.is_none()).map(line).collect::<Vec<_>>()
    });
    relayed.chain(paths).collect()
}

/// The first few of a list; `--json` has them all.
fn some(names: &[String]) -> String {
    const FEW: usize = 8;
    match names.len().checked_sub(FEW) {
        Some(more) if more > 1 => format!("{}, and {more} more", names[..FEW].join(", ")),
        _ => names.join(", "),
    }
}

fn to_json((_, sources, destinations, services): &Named) -> Value {
    json!({ "sources": sources, "destinations": destinations, "services": services })
}
