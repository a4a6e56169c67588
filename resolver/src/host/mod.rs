//! The host's own configuration: whom its programs ask for names, and how to make that us.
//!
//! What is done is written down before it is done, so that whoever starts next can undo it.

mod command;
mod file;
mod resolvconf;
mod resolved;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::core::{Ours, ResolvConf, give_back};
use resolvconf::Resolvconf;
use resolved::Resolved;

/// Where systemd-resolved takes questions of programs that read `resolv.conf`.
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// Where a host's configuration is.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Where it is written down what has been changed.
    pub record: PathBuf,
    /// The program that keeps `resolv.conf`, on hosts that have one.
    pub resolvconf: PathBuf,
    /// The system bus, as D-Bus writes addresses.
    pub bus: String,
}

impl Paths {
    /// Those of every host; the record is kept in `state`.
    #[must_use]
    pub fn of_host(state: &std::path::Path) -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            record: state.join("names.json"),
            resolvconf: "resolvconf".into(),
            bus: "unix:path=/run/dbus/system_bus_socket".to_owned(),
        }
    }
}

/// The interface of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
}

/// By what a host is told whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// systemd-resolved, over D-Bus: it asks us for our domains only.
    Resolved,
    /// openresolv's `resolvconf`.
    Openresolv,
    /// Debian's `resolvconf`.
    Resolvconf,
    /// The file itself.
    File,
}

/// What a host is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whom to ask.
    pub nameserver: IpAddr,
    /// The domain of the mesh; none while there is no mesh.
    pub domain: Option<String>,
    /// The other domains for which we are to be asked.
    pub domains: Vec<String>,
    /// Whether we are to be asked for all others too.
    pub all: bool,
}

/// What was changed, for who comes after us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    mode: Mode,
    interface: Interface,
}

/// A host that we may tell whom to ask.
#[derive(Debug)]
pub(crate) struct Host {
    paths: Paths,
    record: Record,
}

impl Host {
    /// Finds out how this host is told.
    pub(crate) async fn find(paths: Paths, interface: Interface) -> Result<Self> {
        let text = file::read(&paths.resolv_conf)?.and_then(|text| give_back(&text));
        let text = text.unwrap_or_default();
        let mode = if asks_resolved(&text) && Resolved::is_there(&paths.bus).await {
            Mode::Resolved
        } else if is_kept_by_resolvconf(&text) {
            Resolvconf::kind(&paths.resolvconf).await.unwrap_or(Mode::File)
        } else {
            Mode::File
        };
        Ok(Self { paths, record: Record { mode, interface } })
    }

    pub(crate) fn mode(&self) -> Mode {
        self.record.mode
    }

    /// Whom the host asks, or would ask without us.
    pub(crate) async fn upstreams(&self) -> Result<Vec<SocketAddr>> {
        Ok(match self.record.mode {
            Mode::Openresolv | Mode::Resolvconf => self.resolvconf().others().await?,
            Mode::Resolved | Mode::File => {
                let text = file::read(&self.paths.resolv_conf)?;
                let text = text.and_then(|text| give_back(&text)).unwrap_or_default();
                ResolvConf::parse(&text)
            }
        }
        .nameservers)
    }

    /// Tells the host; again if something has changed.
    pub(crate) async fn apply(&self, wanted: &Wanted) -> Result<()> {
        file::write_record(&self.paths.record, &self.record)?;
        let Wanted { nameserver, ref domain, .. } = *wanted;
        let ours = Ours { nameserver, search: domain.clone() };
        match self.record.mode {
            Mode::Resolved => {
                let resolved = Resolved::connect(&self.paths.bus).await?;
                resolved.tell(&self.record.interface, wanted).await
            }
            Mode::Openresolv | Mode::Resolvconf => self.resolvconf().add(&ours).await,
            Mode::File => file::take(&self.paths.resolv_conf, &ours),
        }
    }

    /// Whether somebody has written over what we told. Where a program keeps it, that one sees to it.
    pub(crate) fn is_overwritten(&self, wanted: &Wanted) -> Result<bool> {
        if self.record.mode != Mode::File {
            return Ok(false);
        }
        let text = file::read(&self.paths.resolv_conf)?.unwrap_or_default();
        let asked = ResolvConf::parse(&text).nameservers;
        Ok(!crate::core::is_taken(&text) || asked.iter().any(|at| at.ip() != wanted.nameserver))
    }

    fn resolvconf(&self) -> Resolvconf<'_> {
        Resolvconf {
            program: &self.paths.resolvconf,
            mode: self.record.mode,
            interface: &self.record.interface.name,
        }
    }

    async fn undo(&self) -> Result<()> {
        match self.record.mode {
            Mode::Resolved => {
                let resolved = Resolved::connect(&self.paths.bus).await?;
                resolved.revert(&self.record.interface).await
            }
            Mode::Openresolv | Mode::Resolvconf => self.resolvconf().delete().await,
            Mode::File => file::give(&self.paths.resolv_conf),
        }
    }
}

/// Undoes whatever a resolver has told the host and could not take back. Does nothing where there is
/// nothing to undo.
pub async fn restore(paths: &Paths) -> Result<Option<Mode>> {
    let record = file::read_record(&paths.record)?;
    if let Some(record) = &record {
        let mode = record.mode;
        let host = Host { paths: paths.clone(), record: record.clone() };
        host.undo().await.with_context(|| format!("{} cannot be told ({mode:?})", mode.name()))?;
    }
    // Also without a record: state may be lost, the file's own marks are not.
    let taken = file::give(&paths.resolv_conf);
    taken.with_context(|| format!("{} cannot be given back", paths.resolv_conf.display()))?;
    file::remove_record(&paths.record)?;
    Ok(record.map(|record| record.mode))
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Resolved => "systemd-resolved",
            Self::Openresolv | Self::Resolvconf => "resolvconf",
            Self::File => "resolv.conf",
        }
    }
}

/// Whether programs that read this ask systemd-resolved, and nobody else.
fn asks_resolved(text: &[u8]) -> bool {
    let asked = ResolvConf::parse(text).nameservers;
    let is_stub = |at: &SocketAddr| STUBS.contains(&at.ip().to_string().as_str());
    !asked.is_empty() && asked.iter().all(is_stub)
}

/// Both kinds sign what they write.
fn is_kept_by_resolvconf(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let mut signed = text.lines().take_while(|line| line.starts_with('#'));
    signed.any(|line| line.to_ascii_lowercase().contains("generated by resolvconf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_tell_who_writes_them() {
        assert!(asks_resolved(b"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n"));
        assert!(!asks_resolved(b"nameserver 127.0.0.53\nnameserver 9.9.9.9\n"));
        assert!(!asks_resolved(b""));
        assert!(is_kept_by_resolvconf(b"# Generated by resolvconf\nnameserver 1.1.1.1\n"));
        assert!(is_kept_by_resolvconf(
            b"# Dynamic resolv.conf(5) file for glibc resolver(3) generated by resolvconf(8)\n"
        ));
        assert!(!is_kept_by_resolvconf(b"nameserver 1.1.1.1\n# Generated by resolvconf\n"));
        assert!(!is_kept_by_resolvconf(b"# Generated by NetworkManager\n"));
    }
}
