//! The daemon: makes the interface, starts the node, serves sockets until it is time to end.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use dataplane::Pins;
use dataplane_common::{MAX_SHARDS, Shards};
use engine::HostOffload;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc};

use super::background;
use super::lasting::{self, Lasting, Opened};
use super::node::{Node, SharedNode};
use super::policy::{self, Policy};
use super::rpc::{self, Call, Reply, Request};
use super::socket::Socket;
use super::uapi;
use crate::io::link::{self, Link};
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
    pub(crate) policy: Option<PathBuf>,
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
    let document = match &options.policy {
        Some(path) => Some(policy::read(path)?),
        None => None,
    };
    let mut signals = Signals::new()?;
    // Taken first: the sockets are the lock against a second daemon.
    let uapi_socket = Socket::listen(uapi::DIRECTORY, name)?;
    let rpc_socket = Socket::listen(rpc::DIRECTORY, name)?;
    let shards = options.shards();
    let queues = if shards == Shards::ONE { Queues::One } else { Queues::Many };
    let directory = options.pin_directory.as_deref().filter(|_| document.is_some());
    let pins = lasting::pins(directory, name);
    let Opened { tun, queues, taken_over } =
        lasting::open(name, options.offload, queues, pins.as_ref())?;
    // Before the interface can carry anything.
    let policy = document.map(|document| Policy::attach(name, document, pins.as_ref()));
    let policy = policy.transpose().inspect_err(|_| {
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
    tracing::info!(interface = name, policy = policy.is_some(), "ready");

    let (calls, inbox) = mpsc::channel(16);
    let mut daemon = Daemon { node: Arc::clone(&node), policy, policy_file: options.policy };
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

/// What commands act upon.
struct Daemon {
    node: SharedNode,
    policy: Option<Policy>,
    policy_file: Option<PathBuf>,
}

impl Daemon {
    /// Follows the interface and answers commands, until the interface is gone.
    async fn run(
        &mut self,
        mut links: mpsc::Receiver<Link>,
        mut calls: mpsc::Receiver<Call>,
        reload: &mut Signal,
    ) {
        loop {
            tokio::select! {
                link = links.recv() => match link {
                    Some(Link::Present { up, mtu }) => {
                        let mut node = self.node.lock().await;
                        if let Some(mtu) = mtu {
                            node.set_mtu(mtu);
                        }
                        node.set_up(up).await;
                    }
                    Some(Link::Gone) | None => return,
                },
                Some((request, reply)) = calls.recv() => {
                    let answer = self.answer(request).await;
                    let answer = answer.unwrap_or_else(|error| Reply::Refused(format!("{error:#}")));
                    // A client that has gone needs no answer.
                    let _ = reply.send(answer);
                }
                _ = reload.recv() => self.reload(),
            }
        }
    }

    async fn answer(&mut self, request: Request) -> anyhow::Result<Reply> {
        match request {
            Request::PolicyStatus => {
                let status = self.policy.as_ref().map(Policy::status).transpose()?;
                Ok(Reply::PolicyStatus(status))
            }
            Request::PolicyApply { name, text } => {
                Ok(Reply::PolicyApplied(self.apply(&name, &text)?))
            }
            Request::Drops => {
                let (drops, _) = self.node.lock().await.counters().await?;
                let labelled =
                    drops.iter().map(|(reason, packets)| (reason.label().into(), packets));
                Ok(Reply::Drops(labelled.collect()))
            }
            Request::Shards { count } => {
                let mut node = self.node.lock().await;
                if let Some(count) = count {
                    let shards = Shards::new(count)
                        .with_context(|| format!("{count} shards: it must be 1 to {MAX_SHARDS}"))?;
                    node.reshard(shards).await?;
                }
                let (_, handed_over) = node.counters().await?;
                Ok(Reply::Shards { count: node.shards().count(), handed_over })
            }
        }
    }

    fn apply(&mut self, name: &str, text: &str) -> anyhow::Result<u32> {
        self.policy
            .as_mut()
            .context("the interface has no policy; start it with: nearwire wg --policy FILE")?
            .apply(name, text)
    }

    /// Reads the policy file anew; what is wrong with it is logged, and the old policy stays.
    fn reload(&mut self) {
        let Some(path) = self.policy_file.clone() else { return };
        let applied = policy::read(&path)
            .and_then(|(text, _)| self.apply(&path.display().to_string(), &text));
        match applied {
            Ok(generation) => tracing::info!(generation, "policy reloaded"),
            Err(error) => tracing::error!("policy not reloaded: {error:#}"),
        }
    }
}
