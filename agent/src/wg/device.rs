//! The daemon: makes the interface, starts the node, serves sockets until it is time to end.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use dataplane::Pins;
use dataplane_common::Shards;
use engine::HostOffload;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, broadcast, mpsc};

use super::background;
use super::daemon::{Daemon, Enforced, PolicyChange};
use super::flows::Record;
use super::lasting::{self, Lasting, Opened};
use super::node::{Ends, Node, SharedNode, Side};
use super::policy::{Files, Proposal};
use super::rpc;
use super::socket::Socket;
use super::uapi;
use crate::io::link::{self, Link};
use crate::io::priority;
use crate::io::tun::{self, Queues};

/// What `nearwire wg` is to do.
pub(crate) struct Options {
    /// The interface to make.
    pub(crate) interface: String,
    /// Stay in the foreground, logging to standard error.
    pub(crate) foreground: bool,
    /// What is asked of the interface.
    pub(crate) offload: HostOffload,
    /// Threads that carry packets; one for each core if not given.
    pub(crate) shards: Option<Shards>,
    /// How long a shard looks for more work before it sleeps.
    pub(crate) busy_poll: Duration,
    /// Enforce this policy on the interface.
    pub(crate) policy: Option<Files>,
    /// Write what becomes of flows here.
    pub(crate) flow_log: Option<PathBuf>,
    /// Where the policy is pinned, so that it outlives a daemon that is killed.
    pub(crate) pin_directory: Option<PathBuf>,
    /// Who takes datagrams of the port that are not WireGuard's.
    pub(crate) side: Option<Side>,
}

impl Options {
    fn shards(&self) -> Shards {
        let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let most = || Shards::new(u32::try_from(cores()).ok()?);
        self.shards.or_else(most).unwrap_or(Shards::ONE)
    }
}

/// Runs the interface until it is told to end, or starts the daemon that does.
pub(crate) fn run(options: Options) -> anyhow::Result<ExitCode> {
    if !options.foreground {
        if !background::is_daemon() {
            // What can be found wrong at once is better said here.
            tun::check_name(&options.interface)?;
            return background::start();
        }
        background::leave_session();
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(options))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(options: Options) -> anyhow::Result<()> {
    tun::check_name(&options.interface)?;
    let proposal = options.policy.as_ref().map(Files::read).transpose()?;
    let mut signals = Signals::new()?;
    let interface = Interface::open(&options, proposal).await?;
    if !options.foreground {
        background::ready()?;
    }
    let until = async {
        tokio::select! {
            _ = signals.terminate.recv() => "terminated",
            _ = signals.interrupt.recv() => "interrupted",
        }
    };
    interface.serve(&mut signals.reload, until).await
}

/// An interface with what serves it.
pub(crate) struct Interface {
    pub(crate) node: SharedNode,
    daemon: Daemon,
    uapi_socket: Socket,
    rpc_socket: Socket,
    lasting: Option<Lasting>,
    links: mpsc::Receiver<Link>,
    ends: Ends,
    policies: (mpsc::Sender<PolicyChange>, mpsc::Receiver<PolicyChange>),
}

impl Interface {
    /// Makes the interface, or takes over the one that was left, and puts a policy on it.
    pub(crate) async fn open(
        options: &Options,
        proposal: Option<Proposal>,
    ) -> anyhow::Result<Self> {
        priority::before_packets();
        let name = options.interface.as_str();
        // Taken first: the sockets are the lock against a second daemon.
        let uapi_socket = Socket::listen(uapi::DIRECTORY, name)?;
        let rpc_socket = Socket::listen(rpc::DIRECTORY, name)?;
        let shards = options.shards();
        let queues = if shards == Shards::ONE { Queues::One } else { Queues::Many };
        let directory = options.pin_directory.as_deref().filter(|_| proposal.is_some());
        let pins = lasting::pins(directory, name);
        let Opened { tun, queues, taken_over } =
            lasting::open(name, options.offload, queues, pins.as_ref())?;
        let controlled = matches!(proposal, Some(Proposal::Filter(..)));
        // Before the interface can carry anything.
        let enforced = Enforced::attach(name, proposal, pins.as_ref(), options.flow_log.as_deref());
        let enforced = enforced.await.inspect_err(|_| {
            if !taken_over {
                // What was refused is not to be found by the next.
                let _ = pins.as_ref().map(Pins::remove);
            }
        })?;
        let lasting = pins.map(|pins| Lasting::new(&tun, pins)).transpose()?;
        let links = link::watch(name).await?;
        let (node, ends) =
            Node::start(name, (tun, queues), shards, options.busy_poll, options.side.clone())?;
        let node: SharedNode = Arc::new(Mutex::new(node));
        tracing::info!(interface = name, policy = enforced.is_some(), "ready");
        let daemon = Daemon {
            interface: name.to_owned(),
            node: Arc::clone(&node),
            enforced,
            files: options.policy.clone(),
            controlled,
        };
        let policies = mpsc::channel(4);
        Ok(Self { node, daemon, uapi_socket, rpc_socket, lasting, links, ends, policies })
    }

    /// Where changes of what is enforced are taken.
    pub(crate) fn policies(&self) -> mpsc::Sender<PolicyChange> {
        self.policies.0.clone()
    }

    /// What becomes of flows from now on; never anything without a policy.
    pub(crate) fn follow_flows(&self) -> broadcast::Receiver<Arc<Record>> {
        self.daemon.follow_flows()
    }

    /// Serves it until it is gone, or `until` says why it is time to end.
    pub(crate) async fn serve(
        self,
        reload: &mut Signal,
        until: impl Future<Output = &'static str>,
    ) -> anyhow::Result<()> {
        let Self { node, mut daemon, uapi_socket, rpc_socket, lasting, links, mut ends, policies } =
            self;
        let (calls, inbox) = mpsc::channel(16);
        let name = daemon.interface.clone();
        let reason = tokio::select! {
            result = uapi::serve(&uapi_socket, &node) => {
                ended_by("the configuration socket", result)
            }
            result = rpc::serve(&rpc_socket, &calls) => ended_by("the command socket", result),
            result = uapi_socket.removed() => result.map(|()| "its socket was removed"),
            () = daemon.run(links, inbox, policies.1, reload) => Ok("the interface was deleted"),
            reason = until => Ok(reason),
            end = ends.recv() => match end {
                Some(Err(error)) => Err(error).context("a packet thread failed"),
                Some(Ok(())) | None => Ok("the interface was deleted"),
            },
        };
        node.lock().await.end().await;
        drop(lasting);
        tracing::info!(interface = name, reason = reason.as_ref().ok(), "end");
        reason.map(drop)
    }
}

fn ended_by(what: &str, result: std::io::Result<()>) -> anyhow::Result<&'static str> {
    result.with_context(|| format!("{what} failed")).map(|()| "its socket was closed")
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            reload: listen(SignalKind::hangup())?,
        })
    }
}
