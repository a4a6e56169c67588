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
use tokio::sync::{Mutex, mpsc};

use super::background;
use super::daemon::{Daemon, Enforced};
use super::lasting::{self, Lasting, Opened};
use super::node::{Node, SharedNode};
use super::policy::Files;
use super::rpc;
use super::socket::Socket;
use super::uapi;
use crate::io::link;
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
    let name = options.interface.as_str();
    tun::check_name(name)?;
    let proposal = options.policy.as_ref().map(Files::read).transpose()?;
    let mut signals = Signals::new()?;
    // Taken first: the sockets are the lock against a second daemon.
    let uapi_socket = Socket::listen(uapi::DIRECTORY, name)?;
    let rpc_socket = Socket::listen(rpc::DIRECTORY, name)?;
    let shards = options.shards();
    let queues = if shards == Shards::ONE { Queues::One } else { Queues::Many };
    let directory = options.pin_directory.as_deref().filter(|_| proposal.is_some());
    let pins = lasting::pins(directory, name);
    let Opened { tun, queues, taken_over } =
        lasting::open(name, options.offload, queues, pins.as_ref())?;
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
    let (node, mut ends) = Node::start(name, (tun, queues), shards, options.busy_poll)?;
    let node: SharedNode = Arc::new(Mutex::new(node));
    if !options.foreground {
        background::ready()?;
    }
    tracing::info!(interface = name, policy = enforced.is_some(), "ready");

    let (calls, inbox) = mpsc::channel(16);
    let mut daemon = Daemon {
        interface: name.to_owned(),
        node: Arc::clone(&node),
        enforced,
        files: options.policy.clone(),
    };
    let reason = tokio::select! {
        result = uapi::serve(&uapi_socket, &node) => ended_by("the configuration socket", result),
        result = rpc::serve(&rpc_socket, &calls) => ended_by("the command socket", result),
        result = uapi_socket.removed() => result.map(|()| "its socket was removed"),
        () = daemon.run(links, inbox, &mut signals.reload) => Ok("the interface was deleted"),
        _ = signals.terminate.recv() => Ok("terminated"),
        _ = signals.interrupt.recv() => Ok("interrupted"),
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
