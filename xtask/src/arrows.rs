//! Which crate may stand on which: the floors of the design, held against `cargo metadata`.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use anyhow::{Context, Result, bail};

use crate::workspace::{Metadata, Node, Package};

/// A core crate, and the crates of ours that it may depend on.
pub(crate) struct Core {
    pub(crate) name: &'static str,
    pub(crate) may: &'static [&'static str],
}

/// The crates that do no I/O and read no clock.
pub(crate) const CORES: &[Core] = &[
    Core { name: "dataplane-common", may: &[] },
    Core { name: "proto", may: &["dataplane-common"] },
    Core { name: "policy", may: &["proto"] },
    Core { name: "engine", may: &["dataplane-common", "policy", "proto"] },
    Core { name: "paths", may: &["dataplane-common", "engine", "policy", "proto"] },
    Core { name: "relay-client", may: &["proto"] },
];

/// Cores that are a part of a shell's crate: their sources are held to the same, and name none of
/// what carries I/O.
pub(crate) const CORE_MODULES: &[&str] =
    &["control/src/core/", "relay/src/core/", "resolver/src/core/"];
/// What such a module may not name.
pub(crate) const NOT_NAMED: &[&str] = &[
    "tokio::",
    "quinn::",
    "quinn_udp::",
    "rustls::",
    "socket2::",
    "rustix::",
    "sqlx::",
    "axum::",
    "crate::server",
    "crate::store",
    "crate::host",
];

/// What a core may not name itself, and what must not even be under it.
const NOT_DIRECT: &[&str] = &["quinn-udp", "rustix", "nix", "libc"];
const NOT_UNDER: &[&str] = &["tokio", "aya", "quinn", "socket2", "rtnetlink"];

/// The only crate that may name aya.
const LOADER: &str = "dataplane";

/// Checks every arrow; the remark says what was looked at.
pub(crate) fn check() -> Result<String> {
    let metadata = Metadata::read()?;
    let mut wrong = Vec::new();
    for core in CORES {
        let members = metadata.members();
        let Some(package) = members.iter().find(|p| p.name == core.name) else {
            wrong.push(format!("there is no crate {}: is the table in arrows.rs old?", core.name));
            continue;
        };
        wrong.extend(own_arrows(core, package, &metadata));
        wrong.extend(far_arrows(package, &metadata));
        wrong.extend(unsafe_allowed(package)?);
    }
    for package in metadata.members() {
        let aya = |name: &str| name == "aya" || name.starts_with("aya-");
        if package.name != LOADER && package.dependencies.iter().any(|d| aya(&d.name)) {
            wrong.push(format!("{} names aya: only {LOADER} may", package.name));
        }
    }
    if wrong.is_empty() {
        return Ok(format!("{} crates", metadata.members().len()));
    }
    bail!("{}", wrong.join("\n"))
}

/// What a core's manifest names and should not. Test-only dependencies are its own business.
fn own_arrows(core: &Core, package: &Package, metadata: &Metadata) -> Vec<String> {
    let ours: BTreeSet<&str> = metadata.members().iter().map(|p| p.name.as_str()).collect();
    let mut wrong = Vec::new();
    for dependency in package.dependencies.iter().filter(|d| !d.is_dev()) {
        let name = dependency.name.as_str();
        if ours.contains(name) && !core.may.contains(&name) {
            wrong.push(format!("{} depends on {name}: an arrow upward", core.name));
        }
        if NOT_DIRECT.contains(&name) {
            wrong.push(format!("{} depends on {name}: a core does no system calls", core.name));
        }
    }
    wrong
}

/// What is somewhere under a core and should not be, with the way to it.
fn far_arrows(package: &Package, metadata: &Metadata) -> Vec<String> {
    let nodes: HashMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let names = metadata.names();
    let name = |id: &str| names.get(id).copied().unwrap_or_default().to_owned();
    let mut seen = BTreeSet::from([package.id.as_str()]);
    let mut open = vec![(package.id.as_str(), package.name.clone())];
    let mut wrong = Vec::new();
    while let Some((id, way)) = open.pop() {
        let edges = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
        for edge in edges {
            let for_tests = edge.dep_kinds.iter().all(|k| k.kind.as_deref() == Some("dev"));
            if for_tests || !seen.insert(&edge.pkg) {
                continue;
            }
            let way = format!("{way} -> {}", name(&edge.pkg));
            if NOT_UNDER.contains(&name(&edge.pkg).as_str()) {
                wrong.push(format!("{way}: a core does no I/O"));
            }
            open.push((&edge.pkg, way));
        }
    }
    wrong
}

fn unsafe_allowed(package: &Package) -> Result<Option<String>> {
    let file = package.manifest_path.with_file_name("src").join("lib.rs");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let forbids = text.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]");
    Ok((!forbids).then(|| format!("{} lacks #![forbid(unsafe_code)]", package.name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A workspace of two crates: `policy`, and `agent` which stands on tokio and aya.
    fn metadata(policy_on: &[(&str, Option<&str>)]) -> Metadata {
        let package = |name: &str, on: &[(&str, Option<&str>)]| {
            let on: Vec<_> = on.iter().map(|(n, k)| json!({"name": n, "kind": k})).collect();
            json!({"id": name, "name": name, "manifest_path": "Cargo.toml", "dependencies": on})
        };
        let node = |name: &str, on: &[(&str, Option<&str>)]| {
            let on: Vec<_> =
                on.iter().map(|(n, k)| json!({"pkg": n, "dep_kinds": [{"kind": k}]})).collect();
            json!({"id": name, "deps": on})
        };
        let agent = [("tokio", None)];
        serde_json::from_value(json!({
            "packages": [package("policy", policy_on), package("agent", &agent),
                package("tokio", &[]), package("libc", &[])],
            "workspace_members": ["policy", "agent"],
            "resolve": {"nodes": [node("policy", policy_on), node("agent", &agent),
                node("tokio", &[("libc", None)])]},
            "target_directory": "target",
        }))
        .unwrap()
    }

    fn wrong(policy_on: &[(&str, Option<&str>)]) -> Vec<String> {
        let metadata = metadata(policy_on);
        let policy = metadata.members()[0];
        let mut wrong = own_arrows(&CORES[2], policy, &metadata);
        wrong.extend(far_arrows(policy, &metadata));
        wrong
    }

    #[test]
    fn an_arrow_upward_is_named_with_what_lies_under_it() {
        assert_eq!(
            wrong(&[("agent", None)]),
            [
                "policy depends on agent: an arrow upward",
                "policy -> agent -> tokio: a core does no I/O",
            ]
        );
    }

    #[test]
    fn system_calls_are_refused_in_manifests_only() {
        assert_eq!(wrong(&[("libc", None)]).len(), 1);
        assert_eq!(wrong(&[("libc", Some("build"))]).len(), 1);
    }

    #[test]
    fn tests_may_stand_on_anything() {
        assert_eq!(wrong(&[("tokio", Some("dev")), ("agent", Some("dev"))]), [""; 0]);
    }
}
