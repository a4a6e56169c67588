//! The directory where a node keeps its state, for root alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use proto::control::{Netmap, Peer, PeerPaths, Snapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::state::State;

/// Where it is if nothing else is said.
pub(crate) const DIRECTORY: &str = "/var/lib/nearwire";
const STATE: &str = "state.json";
const NETMAP: &str = "netmap.json";

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Store(PathBuf);

impl Store {
    /// Opens the directory, which is made if need be.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o700)))
            .with_context(|| format!("cannot make the state directory {}", directory.display()))?;
        Ok(Self(directory.to_owned()))
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    pub(crate) fn state(&self) -> anyhow::Result<State> {
        Ok(self.read(STATE)?.unwrap_or_default())
    }

    pub(crate) fn keep_state(&self, state: &State) -> anyhow::Result<()> {
        self.write(STATE, state)
    }

    /// The netmap of before; one that cannot be read is none.
    pub(crate) fn netmap(&self) -> Option<Netmap> {
        let snapshot: Option<Snapshot> = self.read(NETMAP).unwrap_or_else(|error| {
            tracing::warn!("the netmap on disk is not used: {error:#}");
            None
        });
        snapshot.map(Netmap::from)
    }

    pub(crate) fn keep_netmap(&self, netmap: &Netmap) -> anyhow::Result<()> {
        let snapshot: Snapshot<&Peer, &RawValue> = Snapshot {
            revision: netmap.revision,
            network: netmap.network.clone(),
            me: netmap.me.clone(),
            peers: netmap.peers.values().collect(),
            regions: netmap.regions.clone(),
            relaying: netmap.relaying.values().copied().collect(),
            paths: netmap
                .paths
                .iter()
                .map(|(peer, kinds)| PeerPaths { peer: *peer, kinds: *kinds })
                .collect(),
            ticket: netmap.ticket.clone(),
            filter: &netmap.filter,
            rules: netmap.rules.values().cloned().collect(),
            dns: netmap.dns.clone(),
        };
        self.write(NETMAP, &snapshot)
    }

    pub(crate) fn forget_netmap(&self) {
        // None is as good.
        let _ = fs::remove_file(self.0.join(NETMAP));
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.0.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let read = serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is damaged; move it away to enrol anew", path.display())
        })?;
        Ok(Some(read))
    }

    /// Written beside and renamed: a crash leaves the old or the new, whole.
    fn write(&self, name: &str, what: &impl Serialize) -> anyhow::Result<()> {
        let (path, beside) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let bytes = Zeroizing::new(serde_json::to_vec(what)?);
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&beside, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::mesh::state::Identity;

    /// A directory that goes with its test.
    pub(in crate::mesh) struct Directory(pub(in crate::mesh) PathBuf);

    impl Directory {
        pub(in crate::mesh) fn new(name: &str) -> Self {
            let name = format!("nearwire-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_state_comes_back_and_is_for_its_owner_alone() {
        let directory = Directory::new("store");
        let store = Store::open(&directory.0).unwrap();
        assert!(store.state().unwrap().identity.is_none());
        let identity = Some(Identity::generate().unwrap());
        let state = State { identity, up: true, ..State::default() };
        store.keep_state(&state).unwrap();
        let read = store.state().unwrap();
        let key = |state: &State| state.identity.as_ref().map(|id| id.key.public_key());
        assert_eq!((key(&read), read.up), (key(&state), true));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory.0), mode(&directory.0.join(STATE))), (0o700, 0o600));
        assert!(
            !format!("{state:?}").contains(&state.identity.unwrap().key.private_key().to_base64())
        );
        fs::write(directory.0.join(STATE), "{").unwrap();
        assert!(store.state().unwrap_err().to_string().contains("damaged"));
    }
}
