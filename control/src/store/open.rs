//! Opening a database, and bringing its schema up to date.

use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Mutex, broadcast};

use super::{AnyPool, News, Result};

static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

/// Connections to the database.
const CONNECTIONS: u32 = 16;
/// How long a request waits for one.
const WAIT: Duration = Duration::from_secs(5);
/// Changes that may wait to be looked at; who is behind looks at all.
const NEWS: usize = 1_024;

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// One file, one instance.
    Sqlite,
    /// A server, any number of instances.
    Postgres,
}

/// The database.
#[derive(Clone)]
pub struct Store {
    pub(super) pool: AnyPool,
    pub(super) backend: Backend,
    /// SQLite has one writer: those of this process wait in line here, where waiting is fair.
    pub(super) writer: Arc<Mutex<()>>,
    pub(super) news: broadcast::Sender<News>,
}

/// The steps of the schema, first to last.
#[must_use]
pub fn migrations(backend: Backend) -> &'static Migrator {
    match backend {
        Backend::Sqlite => &SQLITE,
        Backend::Postgres => &POSTGRES,
    }
}

impl Backend {
    /// The database that an address names.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        let scheme = url.split_once(':').map(|(scheme, _)| scheme)?;
        match scheme {
            "sqlite" => Some(Self::Sqlite),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
        }
    }
}

impl Store {
    /// The address of a SQLite file.
    #[must_use]
    pub fn sqlite_url(file: &Path) -> String {
        format!("sqlite://{}?mode=rwc", file.display())
    }

    /// Opens a database, with the schema as it is.
    pub async fn connect(url: &str) -> Result<Self> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let backend = Backend::of(url).unwrap_or(Backend::Sqlite);
        let options = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(WAIT);
        let options = match backend {
            Backend::Postgres => options,
            Backend::Sqlite => options.after_connect(|connection, _| {
                Box::pin(async move {
                    // WAL: readers do not wait for the writer. FULL: what was answered is kept.
                    connection
                        .execute(
                            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
                             PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON",
                        )
                        .await?;
                    Ok(())
                })
            }),
        };
        let pool = options.connect(url).await?;
        let (news, _) = broadcast::channel(NEWS);
        Ok(Self { pool, backend, writer: Arc::default(), news })
    }

    /// Opens a database and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self> {
        let store = Self::connect(url).await?;
        migrations(store.backend).run(&store.pool).await?;
        Ok(store)
    }

    /// Which database it is.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// The connections, for tests of the schema.
    #[must_use]
    pub const fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// What this process changes, from now on.
    #[must_use]
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.pool.acquire().await?.ping().await?)
    }

    /// Lets go of the database.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
