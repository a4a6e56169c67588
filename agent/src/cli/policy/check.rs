//! `nearwire policy check`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::input;

/// Read a policy document and say what is wrong with it; changes nothing
#[derive(clap::Args)]
#[command(after_help = "\
Says every error at once, each with its line and column; after a hundred, how many more. With --nodes,
users, groups, tags and autogroups are looked up among these nodes:

  { \"nodes\": [
    { \"name\": \"laptop\", \"user\": \"alice@example.com\", \"addresses\": [\"100.64.0.1\", \"fd7a::1\"] },
    { \"name\": \"web1\", \"tags\": [\"tag:web\"], \"addresses\": [\"100.64.0.2\"], \"routes\": [\"10.1.0.0/16\"] },
  ] }

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
        let compiled = policy.compile(&nodes)?;
        let warnings = policy.warnings(&nodes, self.nodes.is_some());
        let document = &policy.document;
        let (rules, groups) = (document.rules().len(), document.groups().len());
        let (hosts, tags) = (document.hosts().len(), document.tag_owners().len());
        let (tests, entries) = (document.tests().len(), compiled.table_entries());
        let (relays, paths) = (document.relays().len(), document.paths().len());
        let some = |count: usize, what: &str| match count {
            0 => String::new(),
            _ => format!("; {count} {what}"),
        };
        if self.json {
            let summary = json!({
                "file": policy.file, "valid": true, "errors": [], "warnings": warnings,
                "rules": rules, "relays": relays, "paths": paths, "groups": groups, "hosts": hosts, "tags": tags,
                "tests": tests, "nodes": nodes.len(), "table_entries": entries,
            });
            println!("{summary}");
        } else {
            input::warn(&warnings);
            println!(
                "{}: no errors; {rules} rules, {groups} groups, {hosts} hosts, {tags} tags, {tests} \
                 tests; {entries} table entries between {} nodes{}{}",
                policy.file,
                nodes.len(),
                some(relays, "grants to relay"),
                some(paths, "rules of paths"),
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
