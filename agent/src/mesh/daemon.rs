//! `nearwire daemon`: serves the commands, and keeps the node up while it is to be.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use dataplane_common::Shards;
use proto::control::AuthKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::enrol::enrol;
use super::metrics;
use super::rpc::{self, Done, Outcome, Reply, Request};
use super::running::Running;
use super::session::Ask;
use super::state::{Settings, State};
use super::status::Status;
use super::store::Store;

/// What the daemon is started with.
pub(crate) struct Options {
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    /// Who may speak to it beside root.
    pub(crate) group: Option<u32>,
    pub(crate) interface: String,
    pub(crate) shards: Option<Shards>,
    pub(crate) pin_directory: Option<PathBuf>,
    /// Where Prometheus is answered, if it is to be.
    pub(crate) metrics: Option<SocketAddr>,
}

/// What `nearwire up` asks for.
pub(crate) struct Up {
    pub(crate) settings: Settings,
    pub(crate) auth_key: Option<AuthKey>,
}

struct Daemon {
    options: Options,
    store: Store,
    state: State,
    running: Option<Running>,
}

/// Serves until it is told to end. What is asked for by `first` is done before; if it cannot be done,
/// that is the end.
pub(crate) fn run(options: Options, first: Option<Up>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    LocalSet::new().block_on(&runtime, serve(options, first))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(options: Options, first: Option<Up>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let store = Store::open(&options.state)?;
    let state = store.state()?;
    let listener = rpc::listen(&options.socket, options.group)?;
    let scrapes = match options.metrics {
        Some(address) => Some(metrics::listen(address).await?),
        None => None,
    };
    let mut daemon = Daemon { options, store, state, running: None };
    let until = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(until);
    let served = daemon.serve(&listener, scrapes, first, until).await;
    // The interface and the host's resolvers, whatever came before.
    let stopped = daemon.stop().await;
    let _ = fs::remove_file(&daemon.options.socket);
    served.and(stopped)
}

async fn ended(running: &mut Option<Running>) -> anyhow::Result<()> {
    match running {
        Some(running) => running.ended().await,
        None => std::future::pending().await,
    }
}

impl Daemon {
    async fn serve(
        &mut self,
        listener: &tokio::net::UnixListener,
        metrics: Option<tokio::net::TcpListener>,
        first: Option<Up>,
        mut until: Pin<&mut impl Future<Output = ()>>,
    ) -> anyhow::Result<()> {
        if let Some(Up { settings, auth_key }) = first {
            // Progress is in the log; nobody else listens.
            let (replies, _unread) = mpsc::channel(16);
            let came_to = tokio::select! {
                came_to = self.up(settings, auth_key, &replies) => came_to?,
                () = until.as_mut() => return Ok(()),
            };
            tracing::info!("{came_to}");
        } else if self.state.up
            && let Err(error) = self.start().await
        {
            tracing::error!("the node does not come up: {error:#}");
        }
        tracing::info!(socket = %self.options.socket.display(), "serving");
        let (calls, mut inbox) = mpsc::channel(16);
        let scrapes = metrics.map(|listener| metrics::serve(listener, calls.clone()));
        let _scrapes = scrapes.map(tokio::task::spawn_local);
        loop {
            tokio::select! {
                () = until.as_mut() => return Ok(()),
                accepted = listener.accept() => {
                    let (client, _) = accepted.context("the command socket failed")?;
                    tokio::spawn(rpc::talk(client, calls.clone()));
                }
                Some((request, replies)) = inbox.recv() => {
                    if let Err(error) = self.answer(request, &replies).await {
                        // A client that has gone needs no answer.
                        let _ = replies.send(Reply::Refused(format!("{error:#}"))).await;
                    }
                }
                ended = ended(&mut self.running) => {
                    self.running = None;
                    match ended {
                        Ok(()) => tracing::warn!("the interface is gone: nearwire up makes it again"),
                        Err(error) => tracing::error!("the node went down: {error:#}"),
                    }
                }
            }
        }
    }

    async fn answer(
        &mut self,
        request: Request,
        replies: &mpsc::Sender<Reply>,
    ) -> anyhow::Result<()> {
        let done = match request {
            Request::Up { settings, auth_key } => self.up(*settings, auth_key, replies).await?,
            Request::Down => {
                self.stop().await?;
                self.state = self.store.state()?;
                self.state.up = false;
                self.store.keep_state(&self.state)?;
                Outcome::Down.alone()
            }
            Request::Status => {
                let status = Box::new(self.status().await);
                replies.send(Reply::Status(status)).await?;
                return Ok(());
            }
            Request::Explain { node } => {
                let report = self.running()?.told(|reply| Ask::Explain(node, reply)).await?;
                let report = report.context(
                    "nothing is known of the ways to this peer: its agent is older and has no \
                     probes, or it is no peer",
                )?;
                replies.send(Reply::Explained(Box::new(report))).await?;
                return Ok(());
            }
            Request::Netcheck => {
                let report = self.running()?.told_later(Ask::Netcheck).await?;
                // Others are answered meanwhile.
                let replies = replies.clone();
                tokio::spawn(async move {
                    if let Ok(report) = report.await {
                        // A client that has gone needs no answer.
                        let _ = replies.send(Reply::Netcheck(Box::new(report))).await;
                    }
                });
                return Ok(());
            }
            Request::Rotate => {
                self.running()?.ask(Ask::Rotate).await?;
                Outcome::Rotating
                    .because("the next key is being named to all peers, and used in some seconds")
            }
            Request::Leave => {
                self.running()?.ask(Ask::Leave).await?;
                self.stop().await?;
                self.store.forget_netmap();
                self.state = State::default();
                self.store.keep_state(&self.state)?;
                Outcome::Left.because("this node is in the network no more")
            }
        };
        replies.send(Reply::Done(done)).await?;
        Ok(())
    }

    fn running(&self) -> anyhow::Result<&Running> {
        self.running.as_ref().context("this node is down; see: nearwire up")
    }

    async fn status(&self) -> Status {
        if let Some(running) = &self.running
            && let Some(status) = running.status().await
        {
            return status;
        }
        let control = self.state.settings.control.clone();
        Status { state: "down".to_owned(), control, ..Status::default() }
    }

    /// Brings the node up, as it is kept.
    async fn start(&mut self) -> anyhow::Result<&mut Running> {
        let running = Running::start(&self.options, &self.store, self.state.clone()).await?;
        Ok(self.running.insert(running))
    }

    async fn up(
        &mut self,
        settings: Settings,
        auth_key: Option<AuthKey>,
        replies: &mpsc::Sender<Reply>,
    ) -> anyhow::Result<Done> {
        if settings.advertise_exit_node && settings.exit_node.is_some() {
            bail!("a node that uses an exit node cannot be one: packets would go in a circle");
        }
        self.stop().await?;
        let before = self.store.state()?;
        if let Err(error) = self.prepare(before.clone(), settings, auth_key, replies).await {
            return Err(self.as_before(before, error).await);
        }
        self.state.up = true;
        self.store.keep_state(&self.state)?;
        progress(replies, "making the interface").await;
        let running = self.start().await?;
        progress(replies, "connecting").await;
        if let Some(standing) = running.settled().await? {
            return Ok(standing);
        }
        // Its end says why.
        self.stop().await?;
        bail!("the node went down")
    }

    /// Takes over the settings, and enrols if there is a key for it.
    async fn prepare(
        &mut self,
        before: State,
        mut settings: Settings,
        auth_key: Option<AuthKey>,
        replies: &mpsc::Sender<Reply>,
    ) -> anyhow::Result<()> {
        self.state = before;
        if settings.port == 0 {
            settings.port = self.state.settings.port;
        }
        let elsewhere = self.state.settings.control != settings.control;
        self.state.settings = settings;
        if elsewhere {
            // Who it was with another control plane is nobody here.
            self.state.identity = None;
        }
        if let Some(auth_key) = auth_key {
            progress(replies, "enrolling").await;
            let name = enrol(&self.store, &mut self.state, auth_key).await?;
            progress(replies, &format!("enrolled as {name}")).await;
        } else if self.state.identity.as_ref().is_none_or(|identity| identity.node.is_none()) {
            bail!(
                "this node is not enrolled: give --auth-key (nearwire-control admin keys create)"
            );
        }
        if elsewhere {
            self.store.forget_netmap();
        }
        Ok(())
    }

    /// What worked goes on when something else could not begin. Gives what to say.
    async fn as_before(&mut self, before: State, error: anyhow::Error) -> anyhow::Error {
        // The first enrolment is kept: if only its answer was lost, the same node comes again.
        if !before.up {
            return error;
        }
        self.state = before;
        let kept = self.store.keep_state(&self.state);
        match (kept, self.start().await) {
            (Ok(()), Ok(_)) => error.context("the node goes on as it was"),
            (Err(other), _) | (_, Err(other)) => {
                tracing::error!("the node does not come up as it was: {other:#}");
                error
            }
        }
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        match self.running.take() {
            Some(running) => running.stop().await,
            None => Ok(()),
        }
    }
}

async fn progress(replies: &mpsc::Sender<Reply>, what: &str) {
    tracing::info!("{what}");
    // A client that has gone needs no progress.
    let _ = replies.send(Reply::Progress(what.to_owned())).await;
}
