//! What is kept: SQLite in a file, or PostgreSQL for several instances side by side.
//!
//! Everything that changes a network is one [`Write`]: it begins with that network's row, so that
//! writes of one network follow each other on both databases, and ends with the revision at which
//! others find what has changed.

mod audit;
mod control_keys;
mod flows;
mod instances;
mod keys;
mod networks;
mod news;
mod nodes;
mod open;
mod policies;
mod regions;
mod revocations;
mod secrets;
mod tokens;
mod turns;
mod write;

use proto::ticket::{NetworkId, UnixSeconds};
use sqlx::any::AnyRow;
use sqlx::{Any, Pool, Row as _};

pub use audit::{AuditPage, SERVER};
pub use control_keys::PublicControlKey;
pub use flows::{FlowQuery, KeptFlow};
pub use keys::KeptKey;
pub use networks::KeptNetwork;
pub use news::News;
pub use nodes::KeptNode;
pub use open::{Backend, Store, migrations};
pub use policies::{PolicyInfo, PolicyVersion};
pub use secrets::Secrets;
pub use tokens::KeptToken;
pub use write::{Subject, Write};

/// The most that one page of a list holds.
pub const MAX_PAGE: u32 = 1_000;

/// Why something cannot be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database says so.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema cannot be brought up to date.
    #[error("the schema of the database: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Something in the database is not what was written there.
    #[error("{what} in the database is not readable: {reason}")]
    Broken {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// It is not there.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// Another has it.
    #[error("{0} is taken already")]
    Taken(&'static str),
    /// No address is free.
    #[error(transparent)]
    Full(#[from] crate::core::ipam::Full),
    /// A secret does not open.
    #[error(transparent)]
    Seal(#[from] crate::core::seal::SealError),
    /// Randomness failed.
    #[error("the kernel gives no random bytes")]
    Random,
}

type Result<T> = std::result::Result<T, StoreError>;
type AnyPool = Pool<Any>;

/// A page of a list: what follows `after`, and how much of it.
#[derive(Clone, Debug)]
pub struct Page {
    /// The last one of the page before; empty for the first page.
    pub after: String,
    /// The most that is wanted.
    pub limit: u32,
}

impl Page {
    fn limit(&self) -> i64 {
        self.limit.clamp(1, MAX_PAGE).into()
    }
}

fn broken(what: &'static str, reason: impl ToString) -> StoreError {
    StoreError::Broken { what, reason: reason.to_string() }
}

fn text(row: &AnyRow, at: usize) -> Result<String> {
    Ok(row.try_get(at)?)
}

fn number(row: &AnyRow, at: usize) -> Result<u64> {
    let number: i64 = row.try_get(at)?;
    u64::try_from(number).map_err(|error| broken("a number", error))
}

fn seconds(row: &AnyRow, at: usize) -> Result<UnixSeconds> {
    number(row, at).map(UnixSeconds)
}

fn network_id(row: &AnyRow, at: usize) -> Result<NetworkId> {
    text(row, at)?.parse().map_err(|error| broken("a network's id", error))
}

fn json<T: serde::de::DeserializeOwned>(row: &AnyRow, at: usize, what: &'static str) -> Result<T> {
    serde_json::from_str(&text(row, at)?).map_err(|error| broken(what, error))
}

fn written<T: serde::Serialize>(value: &T, what: &'static str) -> Result<String> {
    serde_json::to_string(value).map_err(|error| broken(what, error))
}

/// Databases have signed numbers; ours are far from their end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What a unique column refuses is the caller's mistake, not the database's.
fn taken(what: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| match error.as_database_error() {
        Some(database) if database.is_unique_violation() => StoreError::Taken(what),
        _ => error.into(),
    }
}

/// Random bytes of the kernel.
pub fn random<const LEN: usize>() -> Result<[u8; LEN]> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; LEN];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::Random)?;
    Ok(bytes)
}
