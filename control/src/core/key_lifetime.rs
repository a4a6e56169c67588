//! How long a WireGuard key is used before the node takes another.

use serde::{Deserialize, Serialize};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// See the module: in seconds, from an hour to a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u64", try_from = "u64")]
pub struct KeyLifetime(u64);

/// A time that is too short or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} s is no lifetime of a key: from {least} s (an hour) to {most} s (a year)",
    least = HOUR,
    most = 365 * DAY
)]
pub struct NoLifetime(u64);

impl KeyLifetime {
    /// If nothing else is said.
    pub const USUAL: Self = Self(30 * DAY);

    /// In seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for KeyLifetime {
    type Error = NoLifetime;

    fn try_from(seconds: u64) -> Result<Self, NoLifetime> {
        if (HOUR..=365 * DAY).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(NoLifetime(seconds))
        }
    }
}

impl From<KeyLifetime> for u64 {
    fn from(lifetime: KeyLifetime) -> Self {
        lifetime.0
    }
}
