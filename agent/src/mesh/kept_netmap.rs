//! The netmap of now, and its copy on disk, by which the node comes up when the control plane is away.

use proto::control::Netmap;

use super::store::Store;

/// See the module. The copy is written by [`Self::keep`], not by each change: it takes a sync of the
/// disk, and may be a little old.
pub(super) struct KeptNetmap {
    store: Store,
    netmap: Option<Netmap>,
    /// Whether the copy is of before.
    behind: bool,
}

impl KeptNetmap {
    pub(super) const fn new(store: Store) -> Self {
        Self { store, netmap: None, behind: false }
    }

    pub(super) const fn get(&self) -> Option<&Netmap> {
        self.netmap.as_ref()
    }

    pub(super) const fn take(&mut self) -> Option<Netmap> {
        self.netmap.take()
    }

    pub(super) fn set(&mut self, netmap: Netmap) {
        (self.netmap, self.behind) = (Some(netmap), true);
    }

    /// The node is in the network no more.
    pub(super) fn forget(&mut self) {
        (self.netmap, self.behind) = (None, false);
        self.store.forget_netmap();
    }

    /// Brings the copy up to date.
    pub(super) fn keep(&mut self) {
        let Some(netmap) = self.netmap.as_ref().filter(|_| self.behind) else { return };
        match self.store.keep_netmap(netmap) {
            Ok(()) => self.behind = false,
            Err(error) => tracing::warn!("the netmap is not kept: {error:#}"),
        }
    }
}
