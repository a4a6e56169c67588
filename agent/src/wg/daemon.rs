//! What the running daemon does: follows the interface, answers commands, keeps the policy.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use dataplane::Pins;
use dataplane_common::{Generation, MAX_SHARDS, Shards};
use tokio::signal::unix::Signal;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::flows::{Due, FlowWatch, Record};
use super::node::SharedNode;
use super::policy::{Files, Legend, NamedText, Policy, Proposal};
use super::rpc::{Answer, Call, Reply, Request};
use crate::io::link::Link;

/// A policy in force, and what its programs tell.
pub(super) struct Enforced {
    policy: Policy,
    flows: FlowWatch,
}

/// What a control plane has said.
pub(crate) enum PolicyChange {
    /// What is to be enforced from now on, and whom to tell the generation or why not.
    Enforce(Proposal, oneshot::Sender<anyhow::Result<Generation>>),
    /// What else is to be told of what is enforced.
    Tell(Arc<Legend>),
}

/// What commands act upon.
pub(super) struct Daemon {
    pub(super) interface: String,
    pub(super) node: SharedNode,
    pub(super) enforced: Option<Enforced>,
    pub(super) files: Option<Files>,
    /// Whether a control plane says what is enforced.
    pub(super) controlled: bool,
}

impl Enforced {
    /// Puts a policy, if there is one, on the interface.
    pub(super) async fn attach(
        interface: &str,
        proposal: Option<Proposal>,
        pins: Option<&Pins>,
        log: Option<&Path>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(proposal) = proposal else { return Ok(None) };
        let mut policy = Policy::attach(interface, proposal, pins).await?;
        let flows = FlowWatch::new(&mut policy, log)?;
        Ok(Some(Self { policy, flows }))
    }
}

impl Daemon {
    /// Follows the interface and answers commands, until the interface is gone.
    pub(super) async fn run(
        &mut self,
        mut links: mpsc::Receiver<Link>,
        mut calls: mpsc::Receiver<Call>,
        mut policies: mpsc::Receiver<PolicyChange>,
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
                    let answer = self.answer(request).await.unwrap_or_else(|error| {
                        Answer::Once(Reply::Refused(format!("{error:#}")))
                    });
                    // A client that has gone needs no answer.
                    let _ = reply.send(answer);
                }
                Some(change) = policies.recv() => self.change(change).await,
                due = due(&mut self.enforced) => self.handle_flows(due),
                _ = reload.recv() => self.reload().await,
            }
        }
    }

    pub(super) fn follow_flows(&self) -> broadcast::Receiver<Arc<Record>> {
        let never = || broadcast::Sender::new(1).subscribe();
        self.enforced.as_ref().map_or_else(never, |enforced| enforced.flows.follow())
    }

    async fn change(&mut self, change: PolicyChange) {
        match (change, self.enforced()) {
            (PolicyChange::Enforce(proposal, reply), enforced) => {
                let applied = match enforced {
                    Ok(enforced) => enforced.policy.apply(proposal).await,
                    Err(error) => Err(error),
                };
                // Who asked may be gone.
                let _ = reply.send(applied);
            }
            (PolicyChange::Tell(legend), Ok(enforced)) => enforced.policy.tell(legend),
            // Of nothing, nothing is told.
            (PolicyChange::Tell(_), Err(_)) => {}
        }
    }

    async fn answer(&mut self, request: Request) -> anyhow::Result<Answer> {
        Ok(Answer::Once(match request {
            Request::PolicyStatus => Reply::PolicyStatus(self.enforced()?.policy.status()?),
            Request::PolicyApply { document, nodes } => {
                Reply::PolicyApplied(self.apply(document, nodes.as_ref()).await?)
            }
            Request::Explain(question) => {
                Reply::Explained(self.enforced()?.policy.explain(&question)?)
            }
            Request::Flows => {
                let Enforced { policy, flows } = self.enforced()?;
                Reply::Flows(flows.flows(policy)?)
            }
            Request::FollowFlows => return Ok(Answer::Follow(self.enforced()?.flows.follow())),
            Request::Drops => {
                let (drops, _) = self.node.lock().await.counters().await?;
                let labelled =
                    drops.iter().map(|(reason, packets)| (reason.label().into(), packets));
                Reply::Drops(labelled.collect())
            }
            Request::Shards { count } => {
                let mut node = self.node.lock().await;
                if let Some(count) = count {
                    let shards = Shards::new(count)
                        .with_context(|| format!("{count} shards: it must be 1 to {MAX_SHARDS}"))?;
                    node.reshard(shards).await?;
                }
                let (_, handed_over) = node.counters().await?;
                Reply::Shards { count: node.shards().count(), handed_over }
            }
        }))
    }

    async fn apply(
        &mut self,
        document: NamedText,
        nodes: Option<&NamedText>,
    ) -> anyhow::Result<u32> {
        if self.controlled {
            bail!("the control plane says what {} enforces: change it there", self.interface);
        }
        let policy = &mut self.enforced()?.policy;
        let proposal = policy.proposal(document, nodes)?;
        Ok(policy.apply(proposal).await?.0)
    }

    /// The policy, which a command needs.
    fn enforced(&mut self) -> anyhow::Result<&mut Enforced> {
        self.enforced.as_mut().with_context(|| {
            let interface = &self.interface;
            format!("{interface} has no policy; start it with: nearwire wg --policy FILE")
        })
    }

    /// Reads the policy's files anew; what is wrong with them is logged, and the old policy stays.
    async fn reload(&mut self) {
        let (Some(files), Some(enforced)) = (&self.files, &mut self.enforced) else { return };
        enforced.flows.reopen_log();
        let applied = match files.read() {
            Ok(proposal) => enforced.policy.apply(proposal).await,
            Err(error) => Err(error),
        };
        match applied {
            Ok(generation) => tracing::info!(generation = generation.0, "policy reloaded"),
            Err(error) => tracing::error!("policy not reloaded: {error:#}"),
        }
    }

    fn handle_flows(&mut self, due: std::io::Result<Due>) {
        let Some(Enforced { policy, flows }) = &mut self.enforced else { return };
        match due {
            Ok(due) => flows.handle(&due, policy),
            Err(error) => tracing::error!(%error, "the policy's events cannot be waited for"),
        }
    }
}

/// Waits for what is to be done about flows; for ever, if there is no policy.
async fn due(enforced: &mut Option<Enforced>) -> std::io::Result<Due> {
    match enforced {
        Some(enforced) => enforced.flows.due().await,
        None => std::future::pending().await,
    }
}
