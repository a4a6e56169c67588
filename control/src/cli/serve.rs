//! `serve`

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::server::{Config, Server, TlsSource};
use crate::store::Page;

/// How long nodes and requests have to go elsewhere.
const DRAIN: Duration = Duration::from_secs(5);

pub(super) async fn run(config: Config) -> Result<()> {
    raise_open_files();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let tls = config.tls.clone();
    let server = Server::start(config).await?;
    let addresses = server.addresses();
    let url = match tls {
        None => format!("http://{}", addresses.api),
        Some(TlsSource::Files(_)) => format!("https://{}", addresses.api),
        Some(TlsSource::Acme(acme)) => {
            format!("https://{}", acme.names.first().map_or("", String::as_str))
        }
    };
    first_steps(&server, &url).await?;
    tracing::info!(
        url,
        operators = addresses.operators.map(tracing::field::display),
        instance = server.app().hub().instance(),
        "serving"
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("telling nodes, then ending");
    server.drain(DRAIN).await;
    Ok(())
}

/// A node is a file. What is not allowed is the operator's business, and the journal says it.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

/// What to type next, where nothing is there yet.
async fn first_steps(server: &Server, url: &str) -> Result<()> {
    let store = server.app().store();
    let first = Page { after: String::new(), limit: 1 };
    if store.tokens(None, &first).await?.is_empty() {
        println!(
            "There is no administrator yet. On this machine, with the same configuration:\n  \
             export NEARWIRE_TOKEN=$(nearwire-control token)\n  \
             export NEARWIRE_URL={url}"
        );
    }
    if store.networks(&first).await?.is_empty() {
        println!(
            "There is no network yet. With the administrator's token:\n  \
             nearwire-control admin networks create home\n  \
             nearwire-control admin keys create home --tag tag:server\n\
             and on the first node, with the key that was printed:\n  \
             nearwire up --control {url} --auth-key KEY"
        );
    }
    Ok(())
}
