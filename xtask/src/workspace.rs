//! Where the repository and its build products are, and what cargo says of it.

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process;

/// The repository's root.
pub(crate) fn root() -> Result<PathBuf> {
    let own = env::var_os("CARGO_MANIFEST_DIR")
        .context("this program does not know its repository: start it as `cargo xtask`")?;
    let root = Path::new(&own).parent().context("xtask lies at the root of the file system")?;
    Ok(root.to_path_buf())
}

/// The cargo that started us, so that every step uses one toolchain.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()?);
    // Meant for xtask alone. In a child's tests they would mislead; and `ring`, with all that stands
    // on it, is built anew wherever its build script finds others.
    for (name, _) in env::vars_os() {
        let of_package = name.to_string_lossy().starts_with("CARGO_PKG_");
        if of_package || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_LINKS" {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Builds what users run; gives where it is.
pub(crate) fn build_nearwire() -> Result<PathBuf> {
    process::run(cargo()?.args(["build", "--locked", "--release", "--package", "agent"]))?;
    Ok(Metadata::read()?.target_directory.join("release/nearwire"))
}

/// Builds all that a mesh is made of; gives the directory.
pub(crate) fn build_programs() -> Result<PathBuf> {
    let packages = ["--package", "agent", "--package", "control", "--package", "relay"];
    process::run(cargo()?.args(["build", "--locked", "--release"]).args(packages))?;
    Ok(Metadata::read()?.target_directory.join("release"))
}

/// What `cargo metadata` says; only the fields that are read here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) resolve: Resolve,
    pub(crate) target_directory: PathBuf,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Declared>,
}

/// A dependency as the manifest declares it.
#[derive(Deserialize)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
}

impl Declared {
    /// Whether it is only for tests, benches and examples.
    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

#[derive(Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

#[derive(Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) deps: Vec<Edge>,
}

#[derive(Deserialize)]
pub(crate) struct Edge {
    pub(crate) pkg: String,
    pub(crate) dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
pub(crate) struct EdgeKind {
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self> {
        let json = process::stdout(cargo()?.args(["metadata", "--format-version", "1"]))?;
        serde_json::from_str(&json).context("reading what `cargo metadata` printed")
    }

    /// The workspace's own packages, by name.
    pub(crate) fn members(&self) -> Vec<&Package> {
        self.packages.iter().filter(|p| self.workspace_members.contains(&p.id)).collect()
    }

    /// Package names by id.
    pub(crate) fn names(&self) -> HashMap<&str, &str> {
        self.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect()
    }
}
