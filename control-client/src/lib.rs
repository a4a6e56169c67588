//! How nodes and relays speak to the control plane: enrolment, sessions, reports, the stream of netmaps,
//! and that of revocations.
//!
//! What is said is in `proto::control`; here it is put on HTTPS. A [`Client`] holds one HTTP/2
//! connection, which it makes anew when it must. It never tries again by itself: when to is the
//! node's business.
#![forbid(unsafe_code)]

mod client;
mod frames;
mod lines;
mod trust;

pub use client::{Client, Session, check_address};
pub use frames::{Frames, Line};
pub use lines::{Lines, TooLong};
pub use trust::{Trust, http_client};

/// Why something was not said or not heard.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The control plane does not want it.
    #[error("the control plane refuses ({status}): {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why, in its words.
        detail: String,
        /// Seconds after which to try again, if it says so.
        retry_after: Option<u64>,
    },
    /// It is not there, or not trusted.
    #[error("the control plane cannot be reached: {0}")]
    Unreachable(String),
    /// It says what is no answer.
    #[error("the answer is not understood: {0}")]
    Malformed(#[from] proto::control::Malformed),
    /// It has said nothing for too long.
    #[error("the control plane has been silent for {0} s")]
    Silent(u64),
    /// A line is longer than any may be.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The certificates or the address are not usable.
    #[error("{0}")]
    Configuration(String),
}

impl ClientError {
    /// Whether another session, or another enrolment, is what it takes.
    #[must_use]
    pub const fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status: 401, .. })
    }
}

impl From<reqwest::Error> for ClientError {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut reason = error.to_string();
        // reqwest says what failed; only its sources say why.
        let mut source = std::error::Error::source(&error);
        while let Some(deeper) = source {
            reason = format!("{reason}: {deeper}");
            source = deeper.source();
        }
        Self::Unreachable(reason)
    }
}
