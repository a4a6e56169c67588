//! Who has heard of the change that is looked for, and when.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

/// Something that a node hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A peer's first endpoint has this port.
    Endpoint(u16),
    /// What it has to enforce is something else.
    Filter,
}

#[derive(Default)]
pub(crate) struct Board(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    search: Option<Search>,
    lines: u64,
    last: Option<Instant>,
}

struct Search {
    news: News,
    since: Instant,
    missing: HashSet<usize>,
    delays: Vec<Duration>,
    done: Option<oneshot::Sender<()>>,
}

impl Board {
    /// A node has heard something, or just a line.
    pub(crate) fn hear(&self, node: usize, news: impl Iterator<Item = News>) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.lines += 1;
        inner.last = Some(now);
        let Some(search) = &mut inner.search else { return };
        for heard in news {
            if heard == search.news && search.missing.remove(&node) {
                search.delays.push(now - search.since);
            }
        }
        if search.missing.is_empty()
            && let Some(done) = search.done.take()
        {
            // Who asked may have lost patience.
            let _ = done.send(());
        }
    }

    /// Looks for news at these nodes from now on.
    pub(crate) fn look_for(
        &self,
        news: News,
        nodes: impl Iterator<Item = usize>,
    ) -> oneshot::Receiver<()> {
        let (done, all) = oneshot::channel();
        let missing: HashSet<usize> = nodes.collect();
        let (delays, since) = (Vec::with_capacity(missing.len()), Instant::now());
        self.lock().search = Some(Search { news, since, missing, delays, done: Some(done) });
        all
    }

    /// How long each took.
    pub(crate) async fn all(
        &self,
        done: oneshot::Receiver<()>,
        within: Duration,
    ) -> Result<Vec<Duration>> {
        let waited = tokio::time::timeout(within, done).await;
        let search = self.lock().search.take().context("nothing was looked for")?;
        waited
            .map_err(|_| anyhow::anyhow!("{} have not heard it", search.missing.len()))?
            .context("the search was given up")?;
        Ok(search.delays)
    }

    /// Lines that all nodes have heard.
    pub(crate) fn lines(&self) -> u64 {
        self.lock().lines
    }

    /// Waits until nobody has heard anything for so long.
    pub(crate) async fn quiet(&self, quiet: Duration, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let since = self.lock().last.map_or(quiet, |last| last.elapsed());
            if since >= quiet {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "there is no quiet");
            tokio::time::sleep(quiet - since).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
