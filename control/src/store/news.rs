//! What instances tell each other, in this process and by `NOTIFY`.

use std::fmt;
use std::str::FromStr;

use proto::control::NetworkIdError;
use proto::ticket::NetworkId;

/// Something that another part of the server, or another instance, has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A network has another revision.
    Network(NetworkId),
    /// There is another key that signs tickets.
    ControlKeys,
    /// A secret is there, or is another.
    Secrets,
    /// Relays are to serve others than before.
    Revocations,
}

const CONTROL_KEYS: &str = "control-keys";
const SECRETS: &str = "secrets";
const REVOCATIONS: &str = "revocations";

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(id) => id.fmt(f),
            Self::ControlKeys => f.write_str(CONTROL_KEYS),
            Self::Secrets => f.write_str(SECRETS),
            Self::Revocations => f.write_str(REVOCATIONS),
        }
    }
}

impl FromStr for News {
    type Err = NetworkIdError;

    fn from_str(text: &str) -> Result<Self, NetworkIdError> {
        match text {
            CONTROL_KEYS => Ok(Self::ControlKeys),
            SECRETS => Ok(Self::Secrets),
            REVOCATIONS => Ok(Self::Revocations),
            network => network.parse().map(Self::Network),
        }
    }
}
