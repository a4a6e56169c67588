//! A node that is up: its interface and its session, on a task of their own.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use engine::HostOffload;
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::daemon::Options;
use super::interface::{MeshInterface, filter};
use super::rpc::{Done, Outcome};
use super::session::{Ask, Link, Mesh, Start};
use super::state::State;
use super::status::Status;
use super::store::Store;
use crate::wg::{self, Interface, Proposal};

/// How long `up` waits for the control plane before it says that there is none.
const CONNECT: Duration = Duration::from_secs(20);
/// How long it may take to leave the host as it was, once the interface is gone.
const LEAVE: Duration = Duration::from_secs(5);
/// Probes and answers of STUN that wait; what comes on top is lost, and sent again.
const SIDE: usize = 1024;
const GOING_DOWN: &str = "this node is going down";

/// See the module.
pub(super) struct Running {
    asks: mpsc::Sender<Ask>,
    link: watch::Receiver<Link>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Brings the node up, by the netmap on disk for a start.
    pub(super) async fn start(
        daemon: &Options,
        store: &Store,
        state: State,
    ) -> anyhow::Result<Self> {
        let netmap = store.netmap();
        // Nothing passes before a control plane has said what may.
        let at_first = netmap.as_ref().map(filter).transpose()?.unwrap_or_default();
        let (side, arrivals) = mpsc::channel(SIDE);
        let options = wg::Options {
            interface: daemon.interface.clone(),
            foreground: true,
            offload: HostOffload::TcpAndUdp,
            shards: daemon.shards,
            busy_poll: Duration::ZERO,
            policy: None,
            flow_log: None,
            pin_directory: daemon.pin_directory.clone(),
            side: Some(side),
        };
        let proposal = Proposal::Filter(Box::new(at_first), Arc::default());
        let interface = Interface::open(&options, Some(proposal)).await?;
        let name = options.interface.clone();
        let node = interface.node.clone();
        let mesh_interface = MeshInterface::new(&name, node.clone(), interface.policies())?;
        let (standing, link) = watch::channel(Link::Connecting);
        let start = Start {
            store: store.clone(),
            state,
            interface_name: name,
            node,
            interface: mesh_interface,
            netmap,
            standing,
        };
        let (asks, asked) = mpsc::channel(16);
        let flows = interface.follow_flows();
        let task = tokio::task::spawn_local(async move {
            let mut reload = signal(SignalKind::hangup())?;
            let (failed, failure) = oneshot::channel();
            let (deleted, is_deleted) = oneshot::channel();
            let until = async {
                match Mesh::start(start).await {
                    Ok(mesh) => mesh.run(asked, arrivals, flows, is_deleted).await,
                    Err(error) => {
                        let _ = failed.send(error);
                        "it could not be started"
                    }
                }
            };
            let mut until = pin!(until.fuse());
            let served = interface.serve(&mut reload, until.as_mut()).await;
            if !until.is_terminated() {
                // Rules and resolvers of the host outlive the interface.
                let _ = deleted.send(());
                if tokio::time::timeout(LEAVE, until).await.is_err() {
                    tracing::warn!("the host may not be as it was: nearwire up mends it");
                }
            }
            served?;
            match failure.await {
                Ok(error) => Err(error),
                Err(_) => Ok(()),
            }
        });
        Ok(Self { asks, link, task })
    }

    /// Has something done.
    pub(super) async fn ask(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Ask,
    ) -> anyhow::Result<()> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.context(GOING_DOWN)?;
        answer.await.context(GOING_DOWN)?.map_err(anyhow::Error::msg)
    }

    /// Has something told.
    pub(super) async fn told<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> anyhow::Result<T> {
        self.told_later(ask).await?.await.context(GOING_DOWN)
    }

    /// Has something told that takes its time.
    pub(super) async fn told_later<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> anyhow::Result<oneshot::Receiver<T>> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.context(GOING_DOWN)?;
        Ok(answer)
    }

    /// How it is; nothing if it is going down.
    pub(super) async fn status(&self) -> Option<Status> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Status(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Waits until it is known how it stands with the control plane; nothing if it ended before.
    pub(super) async fn settled(&mut self) -> anyhow::Result<Option<Done>> {
        let settled = self.link.wait_for(|link| *link != Link::Connecting);
        let settled = tokio::time::timeout(CONNECT, settled).await;
        Ok(Some(match settled.map(|link| link.map(|link| link.clone())) {
            Ok(Ok(Link::Connected)) => Outcome::Connected.alone(),
            Ok(Ok(Link::Pending)) => {
                Outcome::Pending.because("an operator has to approve this node")
            }
            Ok(Ok(Link::Offline(reason))) => Outcome::Offline.because(reason),
            Ok(Ok(Link::Revoked(reason))) => {
                bail!("the control plane does not let this node in: {reason}")
            }
            Ok(Ok(Link::Connecting)) | Err(_) => Outcome::Offline
                .because("the control plane does not answer; the node goes on trying"),
            Ok(Err(_)) => return Ok(None),
        }))
    }

    /// Waits for its end, once.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.task).await.context("the node failed")?
    }

    /// Takes it down.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        // It may be ending by itself.
        let _ = self.asks.send(Ask::Down).await;
        self.ended().await
    }
}
