//! The names that documents and nodes use.

use std::{fmt, sync::Arc};

use crate::excerpt::is_unseen;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// For a text that was read as such a name.
            pub(crate) fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// As it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// A person: `alice@example.com`, or `alice@` where there is no domain.
    UserName
    /// A group of users: `group:dev`.
    GroupName
    /// What a machine is for: `tag:web`.
    TagName
    /// A name that the document gives to an address or a prefix.
    HostName
    /// The name of a node.
    NodeName
}

impl NodeName {
    /// The name, if a node may be called so: letters, digits, `-`, `_` and dots.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_host(text).then(|| Self::new(text))
    }
}

impl UserName {
    /// The name, if a user may be called so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_user(text).then(|| Self::new(text))
    }
}

impl TagName {
    /// The name, if a tag may be called so: `tag:`, then letters, digits, `-`, `_` and dots.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("tag:").is_some_and(is_word).then(|| Self::new(text))
    }
}

/// Whether a host or a node may be called so: what has no letter looks like an address.
pub(crate) fn is_host(text: &str) -> bool {
    is_word(text) && text.contains(char::is_alphabetic)
}

/// Letters, digits, `-`, `_` and dots, of any script; begins with a letter or a digit.
pub(crate) fn is_word(text: &str) -> bool {
    text.len() <= 255
        && text.starts_with(char::is_alphanumeric)
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Whether it can be a user: something before an `@`, nothing that selectors use otherwise, and
/// nothing that would not be seen.
pub(crate) fn is_user(text: &str) -> bool {
    text.len() <= 255
        && text.find('@').is_some_and(|at| at > 0)
        && text.matches('@').count() == 1
        && !text
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || is_unseen(c) || ":/*\"[]".contains(c))
}
