//! The file that names the relays of a region: read again when it changes and on SIGHUP, so relays join
//! and leave without a restart.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::mesh::RelayId;
use proto::ticket::VerifyingKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::ToMesh;
use crate::core::Region;
use crate::server::hub::{HubHandle, ToHub};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Relays of a region: each has a link to each other.
const MOST: usize = 64;

/// The relays of a region, for one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    pub(super) name: String,
    /// This relay; `None` if it has been taken out of its region.
    pub(super) own: Option<RelayId>,
    pub(super) others: BTreeMap<RelayId, Member>,
}

/// Another relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) key: VerifyingKey,
    pub(super) mesh: SocketAddr,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    /// The region's name.
    name: String,
    /// Its relays, each with its id, public key and address of its mesh.
    relay: Vec<RelayText>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RelayText {
    id: u32,
    key: String,
    mesh: SocketAddr,
}

impl Members {
    /// Reads the file, which must name the relay that has this key.
    pub(super) fn read(file: &Path, own: &VerifyingKey) -> Result<Self> {
        let members = Self::parse(file, own)?;
        if members.own.is_none() {
            bail!(
                "the region {} does not name this relay: add one with key = \"{}\"",
                file.display(),
                BASE64_STANDARD.encode(own.0)
            );
        }
        Ok(members)
    }

    fn parse(file: &Path, own: &VerifyingKey) -> Result<Self> {
        let shown = file.display();
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading the region {shown}"))?;
        Self::of_text(&text, own).with_context(|| format!("in the region {shown}"))
    }

    fn of_text(text: &str, own: &VerifyingKey) -> Result<Self> {
        Self::of(toml::from_str(text)?, own)
    }

    fn of(text: Text, own: &VerifyingKey) -> Result<Self> {
        ensure!(text.relay.len() <= MOST, "a region has at most {MOST} relays");
        ensure!(
            !text.name.trim().is_empty(),
            "the region's `name` is empty: say one, alike on all"
        );
        let mut members = Self { name: text.name, own: None, others: BTreeMap::new() };
        for relay in text.relay {
            let id = RelayId(relay.id);
            let key = BASE64_STANDARD.decode(&relay.key).ok().and_then(|key| key.try_into().ok());
            let key = key.map(VerifyingKey).with_context(|| {
                format!("the `key` of relay {id} is not 44 characters of base64")
            })?;
            let ip = relay.mesh.ip().to_canonical();
            ensure!(
                !ip.is_unspecified() && !ip.is_multicast() && relay.mesh.port() != 0,
                "the `mesh` of relay {id} is {}, at which no other reaches it: say its address and port",
                relay.mesh
            );
            let twice = members.others.values().any(|member| member.key == key);
            ensure!(!twice && (key != *own || members.own.is_none()), "two relays have one key");
            let member = Member { key, mesh: relay.mesh };
            let known = members.own == Some(id) || members.others.contains_key(&id);
            ensure!(!known, "two relays have the id {id}");
            if key == *own {
                members.own = Some(id);
            } else {
                members.others.insert(id, member);
            }
        }
        // Who is not of the region has no links in it.
        if members.own.is_none() {
            members.others.clear();
        }
        Ok(members)
    }

    /// As the core wants it.
    pub(super) fn region(&self) -> Region {
        Region {
            name: self.name.clone(),
            own: self.own,
            others: self.others.iter().map(|(&id, member)| (id, member.mesh)).collect(),
        }
    }
}

/// Follows the file; what cannot be read leaves the region as it is.
pub(super) async fn follow(
    file: PathBuf,
    own: VerifyingKey,
    members: watch::Sender<Members>,
    hub: HubHandle,
) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!(%error, "listening for SIGHUP failed"),
    };
    let mut seen = changed(&file);
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let now = changed(&file);
        if now == seen && !asked {
            continue;
        }
        seen = now;
        match Members::parse(&file, &own) {
            Ok(read) if read == *members.borrow() => {}
            Ok(read) => {
                let count = read.others.len();
                if read.own.is_some() {
                    tracing::info!(others = count, "the region has changed");
                } else {
                    tracing::warn!("this relay is not of its region any more: its links end");
                }
                // The hub first: it refuses links to relays that it does not know.
                if hub.tell(ToHub::Mesh(ToMesh::Region(read.region()))).await.is_err() {
                    return;
                }
                members.send_replace(read);
            }
            Err(error) => tracing::error!("the region stays as it was: {error:#}"),
        }
    }
}

fn changed(file: &Path) -> Option<(SystemTime, u64)> {
    let data = std::fs::metadata(file).ok()?;
    Some((data.modified().ok()?, data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(id: u32, key: u8) -> String {
        let key = BASE64_STANDARD.encode([key; 32]);
        format!("[[relay]]\nid = {id}\nkey = \"{key}\"\nmesh = \"192.0.2.{id}:444\"\n")
    }

    fn read(relays: &[String]) -> Result<Members> {
        let text = format!("name = \"here\"\n{}", relays.concat());
        Members::of_text(&text, &VerifyingKey([1; 32]))
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_region_or_is_refused(
            relays in proptest::collection::vec((0..9_u32, 0..9_u8, "[\\PC]{0,3}"), 0..70),
            any: String,
        ) {
            let (_, _) = (read(std::slice::from_ref(&any)), Members::of_text(&any, &VerifyingKey([1; 32])));
            let text = |(id, key, more): &(u32, u8, String)| relay(*id, *key) + more;
            if let Ok(members) = read(&relays.iter().map(text).collect::<Vec<_>>()) {
                proptest::prop_assert!(members.others.len() < MOST);
                let own = members.own.is_some();
                proptest::prop_assert!(own || members.others.is_empty(), "{members:?}");
            }
        }
    }

    #[test]
    fn a_relay_knows_itself_by_its_key() {
        let members = read(&[relay(5, 1), relay(6, 2), relay(7, 3)]).unwrap();
        assert_eq!(members.own, Some(RelayId(5)));
        assert_eq!(members.others.keys().map(|id| id.0).collect::<Vec<_>>(), [6, 7]);
        let out = read(&[relay(6, 2), relay(7, 3)]).unwrap();
        assert_eq!((out.own, out.others.len()), (None, 0));
    }

    #[test]
    fn an_error_names_what_is_wrong() {
        let says = |relays: &[String], what: &str| {
            let error = format!("{:#}", read(relays).unwrap_err());
            assert!(error.contains(what), "{error}");
        };
        says(&[relay(5, 1), relay(5, 2)], "two relays have the id 5");
        says(&[relay(6, 2), relay(6, 1)], "two relays have the id 6");
        says(&[relay(5, 1), relay(6, 1)], "two relays have one key");
        says(&[relay(5, 2), relay(6, 2)], "two relays have one key");
        says(&[relay(5, 1).replace("key = \"", "key = \"x")], "`key` of relay 5");
        for nowhere in ["0.0.0.0:444", "[::]:444", "224.0.0.1:444", "192.0.2.5:0"] {
            let relay = relay(5, 1).replace("192.0.2.5:444", nowhere);
            says(&[relay], &format!("the `mesh` of relay 5 is {nowhere}"));
        }
        let nameless = Members::of_text("name = \" \"\nrelay = []\n", &VerifyingKey([1; 32]));
        assert!(format!("{:#}", nameless.unwrap_err()).contains("`name` is empty"));
        says(&[relay(5, 1).replace("mesh", "mash")], "unknown field `mash`");
        let many: Vec<_> = (1..=65).map(|n| relay(u32::from(n), n)).collect();
        says(&many, "at most 64");
    }
}
