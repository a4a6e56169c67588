//! The programs that are measured, and the one that loads them.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::packages::{self, Need};
use crate::{process, workspace};

const IROH_RELAY: &str = "1.4.1";

const NEEDS: &[Need] = &[
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("taskset", "util-linux"),
    ("prlimit", "util-linux"),
];
const COTURN: &[Need] = &[("turnserver", "coturn")];

/// Where each is.
pub(super) struct Programs {
    pub(super) nearwire: PathBuf,
    pub(super) load: PathBuf,
    iroh: OnceCell<PathBuf>,
    coturn: OnceCell<PathBuf>,
}

impl Programs {
    /// Builds what is not there. The others' programs are installed when their turn comes.
    pub(super) fn ready(nearwire: Option<PathBuf>, load: Option<PathBuf>) -> Result<Self> {
        packages::ensure(NEEDS)?;
        let nearwire = match nearwire {
            Some(file) => file,
            None => built("nearwire-relay", &["--package", "relay"])?,
        };
        let load = match load {
            Some(file) => file,
            // A workspace of its own: iroh's client brings more crates than all of ours.
            None => built("relay-load", &["--manifest-path", "benches/relay/Cargo.toml"])?,
        };
        Ok(Self { nearwire, load, iroh: OnceCell::new(), coturn: OnceCell::new() })
    }

    pub(super) fn coturn(&self) -> Result<&Path> {
        once(&self.coturn, || {
            packages::ensure(COTURN)?;
            packages::find("turnserver").context("coturn is gone")
        })
    }

    /// iroh-relay is a program only with its feature `server`.
    pub(super) fn iroh(&self) -> Result<&Path> {
        let flags = ["--features", "server"];
        once(&self.iroh, || {
            packages::from_crates_as("iroh-relay", "iroh-relay", IROH_RELAY, &flags)
        })
    }

    pub(super) fn versions(&self) -> Result<String> {
        let coturn = process::stdout(Command::new("dpkg-query").args([
            "--show",
            "--showformat",
            "${Version}",
            "coturn",
        ]));
        // Where it is not Debian's, it is named as what it is.
        let coturn = coturn.unwrap_or_else(|_| "of unknown version".to_owned());
        Ok(format!("coturn {coturn}, iroh-relay {IROH_RELAY}"))
    }
}

fn once(cell: &OnceCell<PathBuf>, make: impl FnOnce() -> Result<PathBuf>) -> Result<&Path> {
    if cell.get().is_none() {
        // Nobody else is here to set it.
        let _ = cell.set(make()?);
    }
    cell.get().map(PathBuf::as_path).context("it was just set")
}

fn built(program: &str, arguments: &[&str]) -> Result<PathBuf> {
    let target = workspace::Metadata::read()?.target_directory;
    let mut cargo = workspace::cargo()?;
    cargo.args(["build", "--locked", "--release", "--target-dir"]).arg(&target).args(arguments);
    process::run(&mut cargo)?;
    Ok(target.join("release").join(program))
}
