//! Whom no ticket helps, by the control plane's word.

use std::collections::HashSet;

use proto::control::{RevocationFrame, Revoked};
use proto::ticket::{NetworkId, VerifyingKey};

/// See the module. Empty where the control plane is not asked.
#[derive(Default)]
pub(super) struct Revocations(HashSet<Revoked>);

impl Revocations {
    /// Takes what was said; tells whether anybody may have lost service by it.
    pub(super) fn take(&mut self, frame: &RevocationFrame) -> bool {
        if frame.anew {
            self.0.clear();
        }
        for restored in &frame.restored {
            self.0.remove(restored);
        }
        self.0.extend(&frame.revoked);
        !frame.revoked.is_empty()
    }

    /// Whether the node is not to be served.
    pub(super) fn hold(&self, network: NetworkId, identity: VerifyingKey) -> bool {
        let is = |identity| self.0.contains(&Revoked { network, identity });
        !self.0.is_empty() && (is(Some(identity)) || is(None))
    }
}
