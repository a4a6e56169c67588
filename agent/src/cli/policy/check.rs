//! `nearwire policy check`.

use std::path::PathBuf;
use std::process::ExitCode;

use policy::Plan;
use serde_json::json;

use super::{absent, input};

/// Read a policy document and say what is wrong with it; changes nothing
#[derive(clap::Args)]
#[command(after_help = "\
Says every error at once, each with its line and column; after a hundred, how many more. With --nodes,
users, groups, tags and autogroups are looked up among these nodes:

  { \"nodes\": [
    { \"name\": \"laptop\", \"user\": \"alice@example.com\", \"addresses\": [\"100.64.0.1\", \"fd7a::1\"] },
    { \"name\": \"web1\", \"tags\": [\"tag:web\"], \"addresses\": [\"100.64.0.2\"], \"routes\": [\"10.1.0.0/16\"] },
  ] }

Each node's own share has to fit into its tables. Whether one gateway could enforce everything, as
nearwire wg --policy without --node does, is said beside it.

Exit codes: 0 nothing is wrong (there may be warnings), 1 it is refused or cannot be read.")]
pub(in crate::cli) struct Args {
    /// The document (JSON with comments and trailing commas)
    file: PathBuf,
    /// The nodes that it is about
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// One JSON object: the summary, or the errors with line, column and reason
    #[arg(long)]
    pub(super) json: bool,
}

impl Args {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let policy = input::policy(&self.file)?;
        let nodes = input::nodes(self.nodes.as_deref())?;
        let plan = Plan::new(policy.document.clone(), &nodes);
        policy.fits(&plan)?;
        let gateway = policy.gateway(&plan).map(|compiled| compiled.table_entries());
        let mut warnings = policy.warnings(&nodes, self.nodes.is_some());
        if self.nodes.is_some() {
            warnings.extend(absent::warnings(&policy.document, &nodes));
        }
        let document = &policy.document;
        let (rules, groups) = (document.rules().len(), document.groups().len());
        let (hosts, tags) = (document.hosts().len(), document.tag_owners().len());
        let tests = document.tests().len();
        let (relays, paths) = (document.relays().len(), document.paths().len());
        let some = |count: usize, what: &str| match count {
            0 => String::new(),
            _ => format!("; {count} {what}"),
        };
        if self.json {
            let summary = json!({
                "file": policy.file, "valid": true, "errors": [], "warnings": warnings,
                "rules": rules, "relays": relays, "paths": paths, "groups": groups, "hosts": hosts, "tags": tags,
                "tests": tests, "nodes": nodes.len(),
                "table_entries": gateway.as_ref().ok(), "no_gateway": gateway.as_ref().err(),
            });
            println!("{summary}");
        } else {
            input::warn(&warnings);
            println!(
                "{}: no errors; {rules} rules, {groups} groups, {hosts} hosts, {tags} tags, {tests} \
                 tests; {} nodes{}{}{}",
                policy.file,
                nodes.len(),
                some(*gateway.as_ref().unwrap_or(&0), "table entries for a gateway"),
                some(relays, "grants to relay"),
                some(paths, "rules of paths"),
            );
            if let Err(reason) = &gateway {
                println!(
                    "    note: each node can enforce what concerns it, one gateway not everything: {reason}"
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
