//! `nearwire daemon`: serves the commands, and keeps the node up while it is to be.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use dataplane_common::Shards;
use engine::HostOffload;
use proto::control::{AuthKey, Base64Signature, EnrolRequest, VERSIONS};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};

use super::interface::{MeshInterface, filter};
use super::rpc::{self, Call, Reply, Request};
use super::session::{Ask, Link, Mesh, Start, client};
use super::state::{Identity, Settings, State};
use super::status::Status;
use super::store::Store;
use crate::wg::{self, Interface, Proposal};

/// How long `up` waits for the control plane before it says that there is none.
const CONNECT: Duration = Duration::from_secs(20);

/// What the daemon is started with.
pub(crate) struct Options {
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    /// Who may speak to it beside root.
    pub(crate) group: Option<u32>,
    pub(crate) interface: String,
    pub(crate) shards: Option<Shards>,
    pub(crate) pin_directory: Option<PathBuf>,
}

/// A node that is up.
struct Running {
    asks: mpsc::Sender<Ask>,
    link: watch::Receiver<Link>,
    task: JoinHandle<anyhow::Result<()>>,
}

struct Daemon {
    options: Options,
    store: Store,
    state: State,
    running: Option<Running>,
}

/// Serves until it is told to end. `first` is done at once, as if a command had asked.
pub(crate) fn run(options: Options, first: Option<Call>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    LocalSet::new().block_on(&runtime, serve(options, first))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(options: Options, first: Option<Call>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let store = Store::open(&options.state)?;
    let state = store.state()?;
    let listener = listen(&options)?;
    let mut daemon = Daemon { options, store, state, running: None };
    let (calls, mut inbox) = mpsc::channel(16);
    if let Some(first) = first {
        calls.send(first).await?;
    } else if daemon.state.up
        && let Err(error) = daemon.start().await
    {
        tracing::error!("the node does not come up: {error:#}");
    }
    tracing::info!(socket = %daemon.options.socket.display(), "serving");
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.context("the command socket failed")?;
                tokio::spawn(rpc::talk(client, calls.clone()));
            }
            Some((request, replies)) = inbox.recv() => {
                if let Err(error) = daemon.answer(request, &replies).await {
                    // A client that has gone needs no answer.
                    let _ = replies.send(Reply::Refused(format!("{error:#}"))).await;
                }
            }
            ended = ended(&mut daemon.running) => {
                daemon.running = None;
                match ended {
                    Ok(()) => tracing::warn!("the interface is gone: nearwire up makes it again"),
                    Err(error) => tracing::error!("the node went down: {error:#}"),
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    daemon.stop().await?;
    let _ = fs::remove_file(&daemon.options.socket);
    Ok(())
}

/// The socket for commands: for root and, if one is named, a group.
fn listen(options: &Options) -> anyhow::Result<tokio::net::UnixListener> {
    let path = &options.socket;
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("another nearwire daemon serves {}", path.display());
    }
    // One that nobody serves is left from before.
    let _ = fs::remove_file(path);
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = tokio::net::UnixListener::bind(path);
    rustix::process::umask(umask);
    let listener = listener.with_context(|| format!("cannot listen on {}", path.display()))?;
    if let Some(group) = options.group {
        std::os::unix::fs::chown(path, None, Some(group))
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o660)))
            .with_context(|| format!("cannot give {} to its group", path.display()))?;
    }
    Ok(listener)
}

async fn ended(running: &mut Option<Running>) -> anyhow::Result<()> {
    match running {
        Some(running) => (&mut running.task).await.context("the node failed")?,
        None => std::future::pending().await,
    }
}

impl Daemon {
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
                "down".to_owned()
            }
            Request::Status => {
                let status = Box::new(self.status().await);
                replies.send(Reply::Status(status)).await?;
                return Ok(());
            }
            Request::Rotate => {
                self.ask(Ask::Rotate).await?;
                "the next key is being named to all peers, and used in some seconds".to_owned()
            }
            Request::Leave => {
                self.ask(Ask::Leave).await?;
                self.stop().await?;
                self.store.forget_netmap();
                self.state = State::default();
                self.store.keep_state(&self.state)?;
                "this node is in the network no more".to_owned()
            }
        };
        replies.send(Reply::Done(done)).await?;
        Ok(())
    }

    async fn ask(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Ask,
    ) -> anyhow::Result<()> {
        let running = self.running.as_ref().context("this node is down; see: nearwire up")?;
        let (reply, answer) = oneshot::channel();
        running.asks.send(ask(reply)).await.context("this node is going down")?;
        answer.await.context("this node is going down")?.map_err(anyhow::Error::msg)
    }

    async fn status(&self) -> Status {
        if let Some(running) = &self.running {
            let (reply, answer) = oneshot::channel();
            if running.asks.send(Ask::Status(reply)).await.is_ok()
                && let Ok(status) = answer.await
            {
                return status;
            }
        }
        let control = self.state.settings.control.clone();
        Status { state: "down".to_owned(), control, ..Status::default() }
    }

    async fn up(
        &mut self,
        mut settings: Settings,
        auth_key: Option<AuthKey>,
        replies: &mpsc::Sender<Reply>,
    ) -> anyhow::Result<String> {
        self.stop().await?;
        self.state = self.store.state()?;
        if settings.port == 0 {
            settings.port = self.state.settings.port;
        }
        let elsewhere = self.state.settings.control != settings.control;
        self.state.settings = settings;
        if elsewhere {
            // Who it was with another control plane is nobody here.
            self.state.identity = None;
            self.store.forget_netmap();
        }
        if let Some(auth_key) = auth_key {
            progress(replies, "enrolling").await;
            let name = self.enrol(auth_key).await?;
            progress(replies, &format!("enrolled as {name}")).await;
        } else if self.state.identity.as_ref().is_none_or(|identity| identity.node.is_none()) {
            bail!(
                "this node is not enrolled: give --auth-key (nearwire-control admin keys create)"
            );
        }
        self.state.up = true;
        self.store.keep_state(&self.state)?;
        progress(replies, "making the interface").await;
        self.start().await?;
        progress(replies, "connecting").await;
        self.wait_for_link().await
    }

    async fn wait_for_link(&mut self) -> anyhow::Result<String> {
        let running = self.running.as_mut().context("the node went down")?;
        let settled = running.link.wait_for(|link| *link != Link::Connecting);
        let settled = tokio::time::timeout(CONNECT, settled).await;
        let link = match settled.map(|link| link.map(|link| link.clone())) {
            Ok(Ok(link)) => link,
            Ok(Err(_)) => {
                let running = self.running.take().context("the node went down")?;
                running.task.await.context("the node failed")??;
                bail!("the node went down");
            }
            Err(_) => bail!("the control plane does not answer; the node goes on trying"),
        };
        match link {
            Link::Connected => Ok("connected".to_owned()),
            Link::Pending => Ok("pending: an operator has to approve this node".to_owned()),
            Link::Offline(reason) => Ok(format!("offline: {reason}")),
            Link::Revoked(reason) => bail!("the control plane does not let this node in: {reason}"),
            Link::Connecting => bail!("the control plane does not answer"),
        }
    }

    async fn enrol(&mut self, auth_key: AuthKey) -> anyhow::Result<String> {
        let identity = match self.state.identity.take() {
            Some(identity) => identity,
            None => Identity::generate()?,
        };
        // Kept first: if the answer is lost, the same node comes again.
        self.state.identity = Some(identity.clone());
        self.store.keep_state(&self.state)?;
        let mut request = EnrolRequest {
            versions: VERSIONS.to_vec(),
            auth_key,
            node_key: identity.node_key.signing_key()?.verifying_key(),
            wireguard_key: identity.key.public_key(),
            hostname: self.state.settings.hostname.clone(),
            os: "linux".to_owned(),
            agent: concat!("nearwire ", env!("CARGO_PKG_VERSION")).to_owned(),
            routes: self.state.settings.advertise_routes.clone(),
            proof: Base64Signature([0; 64]),
        };
        request.sign(&identity.node_key.signing_key()?);
        let response = client(&self.state)?.enrol(&request).await.context("not enrolled")?;
        let identity = Identity { node: Some(response.node), next_key: None, ..identity };
        self.state.identity = Some(identity);
        self.store.keep_state(&self.state)?;
        Ok(format!("{} in {}", response.name, response.network.name))
    }

    /// Brings the node up, by the netmap on disk for a start.
    async fn start(&mut self) -> anyhow::Result<()> {
        let netmap = self.store.netmap();
        // Nothing passes before a control plane has said what may.
        let at_first = netmap.as_ref().map(filter).transpose()?.unwrap_or_default();
        let (side, arrivals) = mpsc::channel(16);
        let options = wg::Options {
            interface: self.options.interface.clone(),
            foreground: true,
            offload: HostOffload::TcpAndUdp,
            shards: self.options.shards,
            busy_poll: Duration::ZERO,
            policy: None,
            flow_log: None,
            pin_directory: self.options.pin_directory.clone(),
            side: Some(side),
        };
        let proposal = Proposal::Filter(Box::new(at_first));
        let interface = Interface::open(&options, Some(proposal)).await?;
        let name = options.interface.clone();
        let node = interface.node.clone();
        let mesh_interface = MeshInterface::new(&name, node.clone(), interface.policies())?;
        let (standing, link) = watch::channel(Link::Connecting);
        let start = Start {
            store: self.store.clone(),
            state: self.state.clone(),
            interface_name: name,
            node,
            interface: mesh_interface,
            netmap,
            standing,
        };
        let (asks, asked) = mpsc::channel(16);
        let task = tokio::task::spawn_local(async move {
            let mut reload = signal(SignalKind::hangup())?;
            let (failed, failure) = oneshot::channel();
            let until = async {
                match Mesh::start(start).await {
                    Ok(mesh) => mesh.run(asked, arrivals).await,
                    Err(error) => {
                        let _ = failed.send(error);
                        "it could not be started"
                    }
                }
            };
            interface.serve(&mut reload, until).await?;
            match failure.await {
                Ok(error) => Err(error),
                Err(_) => Ok(()),
            }
        });
        self.running = Some(Running { asks, link, task });
        Ok(())
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        // It may be ending by itself.
        let _ = running.asks.send(Ask::Down).await;
        running.task.await.context("the node failed")??;
        Ok(())
    }
}

async fn progress(replies: &mpsc::Sender<Reply>, what: &str) {
    tracing::info!("{what}");
    // A client that has gone needs no progress.
    let _ = replies.send(Reply::Progress(what.to_owned())).await;
}
