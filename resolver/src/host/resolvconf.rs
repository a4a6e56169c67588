//! `resolvconf`, of either kind: programs hand it what they know, it writes the file.

use std::path::Path;

use anyhow::Result;

use super::Mode;
use super::command::run;
use crate::core::{Ours, ResolvConf};

/// In front of each program's part of what it lists.
const PART: &str = "# resolv.conf from ";

pub(super) struct Resolvconf<'a> {
    pub(super) program: &'a Path,
    pub(super) mode: Mode,
    pub(super) interface: &'a str,
}

impl Resolvconf<'_> {
    /// Which of them a host has, if any. systemd-resolved brings one of the same name, which is
    /// neither.
    pub(super) async fn kind(program: &Path) -> Option<Mode> {
        match run(program, &["--version"], b"").await {
            Ok(version) if version.starts_with("openresolv") => Some(Mode::Openresolv),
            Ok(version) if version.starts_with("Debian resolvconf") => Some(Mode::Resolvconf),
            Ok(version) => {
                tracing::debug!(version, "a resolvconf that is not known");
                None
            }
            Err(error) => {
                tracing::debug!("no resolvconf: {error:#}");
                None
            }
        }
    }

    /// The name of our part. Debian's puts what begins with `tun` first.
    fn part(&self) -> String {
        match self.mode {
            Mode::Resolvconf => format!("tun-nearwire.{}", self.interface),
            Mode::Openresolv | Mode::Resolved | Mode::File => {
                format!("{}.nearwire", self.interface)
            }
        }
    }

    /// What all others have handed in.
    pub(super) async fn others(&self) -> Result<ResolvConf> {
        // Nothing handed in is a failure to openresolv.
        let listed = match run(self.program, &["-l"], b"").await {
            Ok(listed) => listed,
            Err(error) if self.mode == Mode::Openresolv => {
                tracing::debug!("nothing listed: {error:#}");
                String::new()
            }
            Err(error) => return Err(error),
        };
        Ok(ResolvConf::parse(without(&listed, &self.part()).as_bytes()))
    }

    /// Hands in our part: alone, where that can be said, or else as the first.
    pub(super) async fn add(&self, ours: &Ours) -> Result<()> {
        let mut domains: Vec<String> = ours.search.iter().cloned().collect();
        let part = self.part();
        let flags: &[&str] = if self.mode == Mode::Openresolv {
            // Alone means without the others' search list.
            domains.extend(self.others().await?.search);
            &["-m", "0", "-x", "-a", &part]
        } else {
            &["-a", &part]
        };
        let mut text = format!("nameserver {}\n", ours.nameserver);
        if !domains.is_empty() {
            text += &format!("search {}\n", domains.join(" "));
        }
        run(self.program, flags, text.as_bytes()).await.map(drop)
    }

    /// Takes our part away.
    pub(super) async fn delete(&self) -> Result<()> {
        let part = self.part();
        let flags: &[&str] = match self.mode {
            // Without `-f`, one that is not there is a failure.
            Mode::Openresolv => &["-f", "-d", &part],
            Mode::Resolvconf | Mode::Resolved | Mode::File => &["-d", &part],
        };
        run(self.program, flags, b"").await.map(drop)
    }
}

/// What is listed, without one part.
fn without(listed: &str, part: &str) -> String {
    let mut ours = false;
    let mut rest = String::new();
    for line in listed.lines() {
        if let Some(name) = line.strip_prefix(PART) {
            ours = name == part;
        }
        if !ours {
            rest += line;
            rest.push('\n');
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_part_is_not_asked() {
        let listed = "# resolv.conf from mesh0.nearwire\nnameserver 169.254.53.53\n\n\
                      # resolv.conf from eth0.dhcp\nsearch lan\nnameserver 10.0.0.1\n";
        let others = ResolvConf::parse(without(listed, "mesh0.nearwire").as_bytes());
        assert_eq!(others.nameservers, ["10.0.0.1:53".parse().unwrap()]);
        assert_eq!(others.search, ["lan"]);
    }
}
