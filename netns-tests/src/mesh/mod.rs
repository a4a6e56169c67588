//! A mesh as real processes: a control plane, relays, and nodes that `nearwire up` brings in.

mod clock;
mod hub;
mod igd;
mod nat;
mod nat64;
mod node;
mod relays;
mod wires;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

pub use hub::{Hub, HubOptions};
pub use igd::{Asked, Igd};
pub use nat::{Nat, SharedCarrier};
pub use node::{MeshNode, RESOLV_CONF};
pub use relays::Spread;
pub use wires::Hindrance;

/// How long anything may take here that is not measured.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory that goes with its owner.
#[derive(Debug)]
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("nearwire-mesh-{}-{number}-{name}", std::process::id());
        let directory = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&directory.0)?;
        Ok(directory)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is in the directory for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where the programs of a mesh are.
#[derive(Clone, Debug)]
pub struct Programs(PathBuf);

impl Programs {
    /// Those in a directory.
    #[must_use]
    pub const fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Those that were built beside the program that runs.
    ///
    /// # Errors
    /// When this program has no file.
    pub fn beside() -> Result<Self> {
        let own = std::env::current_exe().context("this program's own file")?;
        let directory = own.parent().unwrap_or(Path::new("/"));
        let profile = match directory.parent() {
            Some(parent) if directory.ends_with("deps") => parent,
            _ => directory,
        };
        Ok(Self(profile.to_owned()))
    }

    /// One of them, which is built of this package.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get(&self, name: &str, package: &str) -> Result<PathBuf> {
        let program = self.0.join(name);
        let shown = program.display();
        ensure!(program.is_file(), "{shown} not found; build it with `cargo build -p {package}`");
        Ok(program)
    }
}
