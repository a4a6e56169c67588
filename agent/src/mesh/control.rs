//! The line to the control plane: a session, its stream, and reports; made anew when it breaks.

use std::sync::Arc;
use std::time::Duration;

use control_client::{Client, ClientError, Session};
use proto::control::{Delta, EndReason, NodeId, RenewRequest, RenewResponse, Report, Snapshot};
use proto::ticket::SigningKey;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use tokio::sync::{Notify, mpsc, oneshot};

use super::backoff::Backoff;
use super::secret::Secret;

/// How long before its end a session is left for another.
const AHEAD: Duration = Duration::from_secs(60);

/// What the control plane says, or what became of the line.
#[derive(Debug)]
pub(crate) enum Event {
    /// The stream is open: everything should be reported.
    Connected,
    Snapshot(Box<Snapshot>),
    Delta(Box<Delta>),
    /// The node is known by this node key from now on.
    NodeKey(Secret),
    /// The node key stays what it was, as far as is known.
    NotRenewed(String),
    /// The node is in the network no more.
    Revoked(String),
    /// The line is broken, and is being made anew.
    Lost(String),
}

/// What is said to the control plane.
pub(crate) enum Order {
    Report(Box<Report>),
    /// Take this node key.
    Renew(Secret),
    /// Leave for good.
    Leave(oneshot::Sender<Result<(), String>>),
}

/// The end that the node holds.
pub(crate) struct Line {
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) orders: mpsc::Sender<Order>,
    /// The network is another, or the machine was asleep: do not wait, connect.
    pub(crate) wake: Arc<Notify>,
}

struct Keeper {
    client: Client,
    node: NodeId,
    key: Secret,
    /// The node key that was asked for. If the answer was lost, the node is known by it already.
    next: Option<Secret>,
    events: mpsc::Sender<Event>,
    orders: mpsc::Receiver<Order>,
    wake: Arc<Notify>,
    /// The state that the node has by what came over this line.
    revision: Option<u64>,
}

/// Why a connection is over.
enum Over {
    Error(ClientError),
    End(EndReason),
    /// Asked for.
    Anew,
    /// Nobody listens any more.
    Unwanted,
}

impl From<ClientError> for Over {
    fn from(error: ClientError) -> Self {
        Self::Error(error)
    }
}

/// Starts to keep a line, by a node key and perhaps one that was asked for. It ends when its end is
/// dropped.
pub(crate) fn keep(client: Client, node: NodeId, (key, next): (Secret, Option<Secret>)) -> Line {
    let (to_node, events) = mpsc::channel(64);
    let (orders, from_node) = mpsc::channel(64);
    let wake = Arc::new(Notify::new());
    let keeper = Keeper {
        client,
        node,
        key,
        next,
        events: to_node,
        orders: from_node,
        wake: Arc::clone(&wake),
        revision: None,
    };
    tokio::spawn(keeper.run());
    Line { events, orders, wake }
}

impl Keeper {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let (over, was_connected) = self.connect().await;
            if was_connected {
                backoff.reset();
            }
            let mut wait = backoff.next(OsRng.try_next_u32().unwrap_or_default());
            let event = match over {
                Over::Unwanted => return,
                Over::Anew => continue,
                Over::Error(error) if error.is_unauthorized() => {
                    // The session may have ended, or the node key: a new session tells.
                    if !was_connected {
                        wait = wait.max(Duration::from_secs(5));
                        Event::Revoked(error.to_string())
                    } else {
                        continue;
                    }
                }
                Over::End(EndReason::Revoked) => {
                    wait = wait.max(Duration::from_secs(5));
                    Event::Revoked("it was removed from the network".to_owned())
                }
                Over::End(EndReason::Expired) => {
                    Event::Revoked("its node key has ended: enrol again with nearwire up".into())
                }
                Over::End(EndReason::Session) => continue,
                Over::End(reason) => Event::Lost(format!("the control plane said: {reason:?}")),
                Over::Error(error) => {
                    if let ClientError::Refused { retry_after: Some(seconds), .. } = &error {
                        wait = wait.max(Duration::from_secs((*seconds).min(120)));
                    }
                    Event::Lost(error.to_string())
                }
            };
            if self.events.send(event).await.is_err() || self.pause(wait).await.is_err() {
                return;
            }
        }
    }

    /// Waits, and refuses what is ordered meanwhile.
    async fn pause(&mut self, wait: Duration) -> Result<(), ()> {
        let sleep = tokio::time::sleep(wait);
        tokio::pin!(sleep);
        let away = || "the control plane is away".to_owned();
        loop {
            tokio::select! {
                () = &mut sleep => return Ok(()),
                () = self.wake.notified() => return Ok(()),
                order = self.orders.recv() => match order {
                    // Everything is reported when the line is there again.
                    Some(Order::Report(_)) => {}
                    Some(Order::Renew(key)) => self.next = Some(key),
                    Some(Order::Leave(reply)) => drop(reply.send(Err(away()))),
                    None => return Err(()),
                },
            }
        }
    }

    /// One connection, until it is over; and whether it was one.
    async fn connect(&mut self) -> (Over, bool) {
        let mut was_connected = false;
        let over = self.talk(&mut was_connected).await;
        (over.err().unwrap_or(Over::Anew), was_connected)
    }

    async fn talk(&mut self, connected: &mut bool) -> Result<(), Over> {
        let session = self.log_in().await?;
        let mut frames = self.client.stream(&session, self.revision).await?;
        *connected = true;
        self.tell(Event::Connected).await?;
        let end = tokio::time::sleep(session.lasts.saturating_sub(AHEAD));
        tokio::pin!(end);
        loop {
            tokio::select! {
                frame = frames.next() => {
                    let Some(frame) = frame? else { return Err(Over::End(EndReason::Other)) };
                    if let Some(snapshot) = frame.snapshot {
                        self.revision = Some(snapshot.revision);
                        self.tell(Event::Snapshot(Box::new(snapshot))).await?;
                    }
                    if let Some(delta) = frame.delta {
                        if self.revision != Some(delta.base) {
                            self.revision = None;
                            return Err(Over::Anew);
                        }
                        self.revision = Some(delta.revision);
                        self.tell(Event::Delta(Box::new(delta))).await?;
                    }
                    if let Some(end) = frame.end {
                        return Err(Over::End(end.reason));
                    }
                }
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order, &session).await?,
                    None => return Err(Over::Unwanted),
                },
                () = self.wake.notified() => return Err(Over::Anew),
                () = &mut end => return Err(Over::End(EndReason::Session)),
            }
        }
    }

    async fn log_in(&mut self) -> Result<Session, Over> {
        let refused = match self.client.log_in(self.node, &signing_key(&self.key)?).await {
            Err(error) if error.is_unauthorized() => error,
            logged_in => return Ok(logged_in?),
        };
        let Some(next) = &self.next else { return Err(refused.into()) };
        let session = self.client.log_in(self.node, &signing_key(next)?).await;
        let session = session.map_err(|error| match error {
            error if error.is_unauthorized() => refused,
            error => error,
        })?;
        tracing::info!("the control plane knows this node by the node key that was asked for");
        self.take_next().await?;
        Ok(session)
    }

    async fn take_next(&mut self) -> Result<(), Over> {
        let Some(next) = self.next.take() else { return Ok(()) };
        self.key = next.clone();
        self.tell(Event::NodeKey(next)).await
    }

    async fn tell(&self, event: Event) -> Result<(), Over> {
        self.events.send(event).await.map_err(|_| Over::Unwanted)
    }

    async fn obey(&mut self, order: Order, session: &Session) -> Result<(), Over> {
        match order {
            Order::Report(report) => match self.client.report(session, &report).await {
                // What it does not like of a report is no reason to leave.
                Err(error @ ClientError::Refused { status: 400..=422, .. })
                    if !error.is_unauthorized() =>
                {
                    tracing::warn!("the control plane does not take a report: {error}");
                    Ok(())
                }
                reported => Ok(reported?),
            },
            Order::Renew(key) => {
                let renewed = self.renew(&key, session).await;
                self.next = Some(key);
                match renewed {
                    Ok(_) => self.take_next().await,
                    Err(reason) => self.tell(Event::NotRenewed(reason)).await,
                }
            }
            Order::Leave(reply) => {
                let left = self.client.leave(session).await.map_err(|error| error.to_string());
                let _ = reply.send(left);
                Ok(())
            }
        }
    }

    async fn renew(&self, new: &Secret, session: &Session) -> Result<RenewResponse, String> {
        let keys = self.key.signing_key().and_then(|old| Ok((old, new.signing_key()?)));
        let (old, new) = keys.map_err(|error| error.to_string())?;
        let request = RenewRequest::new(self.node, &old, &new);
        self.client.renew(session, &request).await.map_err(|error| error.to_string())
    }
}

fn signing_key(secret: &Secret) -> Result<SigningKey, Over> {
    let key = secret.signing_key();
    key.map_err(|error| Over::Error(ClientError::Configuration(error.to_string())))
}
