//! Enrolment keys: by what right a node comes into a network, and as what.

use proto::control::Standing;
use proto::ticket::UnixSeconds;
use serde::{Deserialize, Serialize};

use super::node::Owner;

/// What an enrolment key allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentKey {
    /// For people.
    pub description: String,
    /// Whose its nodes are.
    pub owner: Owner,
    /// Whether more than one node may come by it.
    pub reusable: bool,
    /// Whether its nodes are deleted when they have been gone for a while.
    pub ephemeral: bool,
    /// Whether its nodes need no approval.
    pub approved: bool,
    /// When it ends.
    pub expires: UnixSeconds,
    /// When it was taken back.
    pub revoked: Option<UnixSeconds>,
    /// How many nodes came by it.
    pub uses: u64,
}

/// Why it lets nobody in. A stranger hears none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// It ended.
    #[error("the enrolment key has expired")]
    Expired,
    /// It was taken back.
    #[error("the enrolment key was revoked")]
    Revoked,
    /// Its one node is in.
    #[error("the enrolment key was for one node, which has come")]
    Used,
}

impl EnrolmentKey {
    /// Whether a node may come by it now.
    pub fn admits(&self, now: UnixSeconds) -> Result<(), KeyRefusal> {
        if self.revoked.is_some() {
            Err(KeyRefusal::Revoked)
        } else if self.expires <= now {
            Err(KeyRefusal::Expired)
        } else if !self.reusable && self.uses > 0 {
            Err(KeyRefusal::Used)
        } else {
            Ok(())
        }
    }

    /// What its nodes may do at first.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        if self.approved { Standing::Approved } else { Standing::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_shuts_a_key() {
        let key = EnrolmentKey {
            description: String::new(),
            owner: Owner::Tags(vec!["tag:web".to_owned()]),
            reusable: false,
            ephemeral: false,
            approved: true,
            expires: UnixSeconds(10),
            revoked: None,
            uses: 0,
        };
        assert_eq!(key.admits(UnixSeconds(9)), Ok(()));
        assert_eq!(key.admits(UnixSeconds(10)), Err(KeyRefusal::Expired));
        let used = EnrolmentKey { uses: 1, ..key.clone() };
        assert_eq!(used.admits(UnixSeconds(9)), Err(KeyRefusal::Used));
        let reusable = EnrolmentKey { reusable: true, ..used };
        assert_eq!(reusable.admits(UnixSeconds(9)), Ok(()));
        let revoked = EnrolmentKey { revoked: Some(UnixSeconds(1)), ..reusable };
        assert_eq!(revoked.admits(UnixSeconds(9)), Err(KeyRefusal::Revoked));
    }
}
