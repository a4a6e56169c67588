//! The server with its sockets.

mod acme;
mod config;
mod http;
pub mod metrics;
mod operators;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use config::{Config, Listen, Options, SealSource};
pub use http::Patience;
pub use tls::TlsSource;

use crate::app::App;
use crate::hub::{self, Sweep};
use crate::problem::Problem;
use crate::store::Store;
use crate::{agents, api, relays};

/// A running server.
pub struct Server {
    app: App,
    addresses: Addresses,
    http: http::Http,
    tasks: JoinSet<()>,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// For nodes and operators.
    pub api: SocketAddr,
    /// For metrics and health.
    pub operators: Option<SocketAddr>,
}

/// Everything that is served on the public address.
pub fn router(app: App) -> Router {
    Router::new()
        .merge(agents::router())
        .merge(api::router())
        .merge(relays::router())
        .route("/healthz", get(operators::healthz))
        .route("/readyz", get(operators::readyz))
        .method_not_allowed_fallback(|| async {
            Problem::of_status(StatusCode::METHOD_NOT_ALLOWED, "this path takes other methods")
        })
        .fallback(|| async { Problem::of_status(StatusCode::NOT_FOUND, "there is no such path") })
        .with_state(app)
}

impl Server {
    /// Opens database and sockets, and serves. Must be called within a tokio runtime.
    pub async fn start(config: Config) -> Result<Self> {
        Self::start_with(config, Sweep::default()).await
    }

    /// The same with other times.
    pub async fn start_with(config: Config, sweep: Sweep) -> Result<Self> {
        let store = Store::open(&config.database)
            .await
            .with_context(|| format!("opening the database {}", config.shown_database()))?;
        let seal = config.seal.key(&store).await?;
        let app = App::new(store, seal).await.context("opening the secrets of the database")?;
        let identity = match config.tls {
            Some(source) => Some(tls::Identity::load(source, &app).await?),
            None => None,
        };
        let listener = TcpListener::bind(config.listen.address)
            .await
            .with_context(|| format!("listening on {} (`listen`)", config.listen.address))?;
        let api = listener.local_addr().context("the address of `listen`")?;
        let mut tasks = JoinSet::new();
        let operators = match config.admin {
            None => None,
            Some(address) => {
                let listener = TcpListener::bind(address)
                    .await
                    .with_context(|| format!("listening on {address} (`admin`)"))?;
                let bound = listener.local_addr().context("the address of `admin`")?;
                let current = identity.as_ref().map(tls::Identity::current);
                let router = operators::router(operators::Shown { app: app.clone(), current });
                tasks.spawn(async move {
                    if let Err(error) = axum::serve(listener, router).await {
                        tracing::error!(%error, "metrics are not served any more");
                    }
                });
                Some(bound)
            }
        };
        tasks.spawn(hub::listen(app.hub().clone(), config.database.clone()));
        tasks.spawn(hub::sweep(app.hub().clone(), sweep));
        let tls = identity.as_ref().map(tls::Identity::tls).transpose()?;
        if let Some(identity) = identity {
            tasks.spawn(identity.keep());
        }
        let router = router(app.clone());
        let how = (config.listen.behind_proxy, config.patience);
        let http = http::Http::start(listener, tls, how, Arc::new(router));
        Ok(Self { app, addresses: Addresses { api, operators }, http, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What it serves with, for tests of single instances.
    #[must_use]
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// Tells nodes to go elsewhere, answers what is under way, and ends.
    pub async fn drain(mut self, within: Duration) {
        self.app.hub().drain();
        self.http.drain(within).await;
        self.tasks.shutdown().await;
        acme::leave(&self.app).await;
        self.app.store().close().await;
    }
}
