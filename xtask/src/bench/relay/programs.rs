//! The programs that are measured, and the one that loads them.

use std::path::PathBuf;
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
    ("turnserver", "coturn"),
];

/// Where each is.
pub(super) struct Programs {
    pub(super) nearwire: PathBuf,
    pub(super) iroh: PathBuf,
    pub(super) coturn: PathBuf,
    pub(super) load: PathBuf,
}

impl Programs {
    /// Installs or builds what is not there.
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
        let coturn = packages::find("turnserver").context("coturn is gone")?;
        Ok(Self { nearwire, iroh: iroh()?, coturn, load })
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

/// iroh-relay is a program only with its feature `server`.
fn iroh() -> Result<PathBuf> {
    packages::from_crates_as("iroh-relay", "iroh-relay", IROH_RELAY, &["--features", "server"])
}

fn built(program: &str, arguments: &[&str]) -> Result<PathBuf> {
    let target = workspace::Metadata::read()?.target_directory;
    let mut cargo = workspace::cargo()?;
    cargo.args(["build", "--locked", "--release", "--target-dir"]).arg(&target).args(arguments);
    process::run(&mut cargo)?;
    Ok(target.join("release").join(program))
}
