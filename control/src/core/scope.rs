//! What an API token may do, and where.

use std::fmt;
use std::str::FromStr;

use proto::ticket::{NetworkId, UnixSeconds};
use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($name:ident $text:literal)*) => {
        /// One right.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub enum Scope {
            $(#[doc = $text] $name,)*
        }

        impl Scope {
            /// Every right that there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

scopes! {
    NetworksRead "networks:read"
    NetworksWrite "networks:write"
    NodesRead "nodes:read"
    NodesWrite "nodes:write"
    KeysRead "keys:read"
    KeysWrite "keys:write"
    PolicyRead "policy:read"
    PolicyWrite "policy:write"
    RelaysRead "relays:read"
    RelaysWrite "relays:write"
    RelaysFollow "relays:follow"
    TokensRead "tokens:read"
    TokensWrite "tokens:write"
    AuditRead "audit:read"
    FlowsRead "flows:read"
}

/// A text that is no right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope: there are {all}", all = all())]
pub struct NoScope(String);

/// An API token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// For people.
    pub description: String,
    /// The only network that it opens; all of them, and what is above them, if none is named.
    pub network: Option<NetworkId>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it ends, if it does.
    pub expires: Option<UnixSeconds>,
    /// When it was taken back.
    pub revoked: Option<UnixSeconds>,
}

impl Token {
    /// Whether it is good at all.
    #[must_use]
    pub fn is_live(&self, now: UnixSeconds) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| now < end)
    }

    /// Whether it opens this network; what is above all networks if none is named.
    #[must_use]
    pub fn opens(&self, network: Option<NetworkId>) -> bool {
        self.network.is_none() || self.network == network
    }

    /// Whether it has the right.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it can do all that the other can: nobody hands out more than they have.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self.opens(other.network)
            && other.scopes.iter().all(|scope| self.may(*scope))
            && match (self.expires, other.expires) {
                (None, _) => true,
                (Some(own), Some(others)) => others <= own,
                (Some(_), None) => false,
            }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<Self, NoScope> {
        let found = Self::ALL.iter().find(|scope| scope.as_str() == text);
        found.copied().ok_or_else(|| NoScope(text.to_owned()))
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.as_str().to_owned()
    }
}

impl TryFrom<String> for Scope {
    type Error = NoScope;

    fn try_from(text: String) -> Result<Self, NoScope> {
        text.parse()
    }
}

fn all() -> String {
    Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(network: Option<u8>, scopes: &[Scope], expires: Option<u64>) -> Token {
        Token {
            description: String::new(),
            network: network.map(|byte| NetworkId([byte; 16])),
            scopes: scopes.to_vec(),
            expires: expires.map(UnixSeconds),
            revoked: None,
        }
    }

    #[test]
    fn a_token_of_a_network_opens_no_other_and_nothing_above() {
        let one = token(Some(1), Scope::ALL, None);
        assert!(one.opens(Some(NetworkId([1; 16]))));
        assert!(!one.opens(Some(NetworkId([2; 16]))));
        assert!(!one.opens(None));
        assert!(token(None, Scope::ALL, None).opens(Some(NetworkId([2; 16]))));
    }

    #[test]
    fn nobody_hands_out_more_than_they_have() {
        let own = token(Some(1), &[Scope::NodesRead, Scope::TokensWrite], Some(100));
        assert!(own.includes(&token(Some(1), &[Scope::NodesRead], Some(100))));
        for more in [
            token(None, &[Scope::NodesRead], Some(100)),
            token(Some(2), &[Scope::NodesRead], Some(100)),
            token(Some(1), &[Scope::NodesWrite], Some(100)),
            token(Some(1), &[Scope::NodesRead], Some(101)),
            token(Some(1), &[Scope::NodesRead], None),
        ] {
            assert!(!own.includes(&more), "{more:?}");
        }
    }

    #[test]
    fn a_token_ends() {
        let one = token(None, Scope::ALL, Some(5));
        assert!(one.is_live(UnixSeconds(4)) && !one.is_live(UnixSeconds(5)));
        let revoked = Token { revoked: Some(UnixSeconds(1)), ..one };
        assert!(!revoked.is_live(UnixSeconds(4)));
        assert!("nodes:fly".parse::<Scope>().unwrap_err().to_string().contains("nodes:read"));
    }
}
