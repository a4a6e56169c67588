//! The daemon's own socket, for `nearwire` commands: one JSON request a line, one JSON reply.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::broadcast::{self, error::RecvError};

use super::flows::{Flows, Record};
use super::policy::{Explanation, NamedText, PolicyStatus, Question};
use super::socket::{self, Socket};
use crate::io::tun::interface_index;

/// Where the sockets are.
pub(super) const DIRECTORY: &str = "/var/run/nearwire";
/// The longest request: a policy document of the largest kind.
const REQUEST_LIMIT: u64 = 64 << 20;
/// How long the command waits for its daemon.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a command asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// The counters of the policy.
    PolicyStatus,
    /// Put this document in force.
    PolicyApply {
        /// The document.
        document: NamedText,
        /// The nodes that its names mean; those of before, if none are given.
        nodes: Option<NamedText>,
    },
    /// What was dropped by the tunnel, and why.
    Drops,
    /// The flows that the policy knows.
    Flows,
    /// What happens to flows from now on; answered until the client goes.
    FollowFlows,
    /// What the policy in force decides on such flows, and by what.
    Explain(Question),
    /// The shards; first, if a count is given, make them so many.
    Shards {
        /// How many there shall be.
        count: Option<u32>,
    },
}

/// What the daemon answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The counters of the policy.
    PolicyStatus(PolicyStatus),
    /// The policy is in force, as this generation.
    PolicyApplied(u32),
    /// Packets dropped, by reason.
    Drops(DropCounts),
    /// The shards.
    Shards {
        /// How many there are.
        count: u32,
        /// Packets that arrived at another shard than their peer's.
        handed_over: u64,
    },
    /// The flows.
    Flows(Flows),
    /// Something happened to a flow.
    Flow(Record),
    /// So many records were lost on the way to this client, which reads too slowly.
    FlowsLost(u64),
    /// What is decided on each flow that was asked about.
    Explained(Vec<Explanation>),
    /// It was not done, and why.
    Refused(String),
}

/// Packets dropped, by the reason's label.
pub(crate) type DropCounts = BTreeMap<String, u64>;

/// A request from a client, with the way back to it.
pub(super) type Call = (Request, tokio::sync::oneshot::Sender<Answer>);

/// What the daemon gives back for a request.
pub(super) enum Answer {
    /// One reply.
    Once(Reply),
    /// Replies until the client goes.
    Follow(broadcast::Receiver<Arc<Record>>),
}

/// Passes the requests of clients on, for ever.
pub(super) async fn serve(
    socket: &Socket,
    calls: &tokio::sync::mpsc::Sender<Call>,
) -> std::io::Result<()> {
    loop {
        let (client, _) = socket.listener.accept().await?;
        let calls = calls.clone();
        tokio::spawn(async move {
            if let Err(error) = talk(client, &calls).await {
                tracing::debug!(%error, "a command was let go");
            }
        });
    }
}

async fn talk(
    client: tokio::net::UnixStream,
    calls: &tokio::sync::mpsc::Sender<Call>,
) -> anyhow::Result<()> {
    let (reader, mut writer) = client.into_split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(reader.take(REQUEST_LIMIT));
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => {
            let (reply, answer) = tokio::sync::oneshot::channel();
            calls.send((request, reply)).await?;
            answer.await?
        }
        Err(error) => {
            Answer::Once(Reply::Refused(format!("this daemon does not know the request: {error}")))
        }
    };
    match answer {
        Answer::Once(reply) => say(&mut writer, &reply).await,
        Answer::Follow(records) => tokio::select! {
            followed = follow(&mut writer, records) => followed,
            // It says nothing more, so this is its end.
            _ = reader.read_u8() => Ok(()),
        },
    }
}

async fn follow(
    writer: &mut OwnedWriteHalf,
    mut records: broadcast::Receiver<Arc<Record>>,
) -> anyhow::Result<()> {
    loop {
        let reply = match records.recv().await {
            Ok(record) => Reply::Flow(Record::clone(&record)),
            Err(RecvError::Lagged(lost)) => Reply::FlowsLost(lost),
            Err(RecvError::Closed) => return Ok(()),
        };
        say(writer, &reply).await?;
    }
}

async fn say(writer: &mut OwnedWriteHalf, reply: &Reply) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(reply)?;
    line.push('\n');
    writer.write_all(line.as_bytes()).await?;
    Ok(())
}

/// The one interface that is served here, in this network namespace.
pub(crate) fn only_interface() -> anyhow::Result<String> {
    let files = match fs::read_dir(DIRECTORY) {
        Ok(files) => files.collect::<Result<_, _>>()?,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {DIRECTORY}")),
    };
    let mut served: Vec<String> = files
        .iter()
        .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".sock")?.to_owned()))
        // The daemon of a mesh has its own socket beside those of interfaces.
        .filter(|name| interface_index(name).is_some())
        // One that was killed leaves its file.
        .filter(|name| UnixStream::connect(socket::path(DIRECTORY, name)).is_ok())
        .collect();
    served.sort_unstable();
    match served.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("nearwire serves no interface here, or you are not root"),
        several => bail!("several interfaces are served, say which: {}", several.join(", ")),
    }
}

/// Asks the daemon of an interface.
pub(crate) fn call(interface: &str, request: &Request) -> anyhow::Result<Reply> {
    let mut answers = ask(interface, request)?;
    answers.get_ref().set_read_timeout(Some(PATIENCE))?;
    hear(&mut answers)?.context("the daemon has gone")
}

/// Asks the daemon of an interface, and gives each of its replies to `each`, until it ends.
pub(crate) fn listen(
    interface: &str,
    request: &Request,
    mut each: impl FnMut(Reply) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut answers = ask(interface, request)?;
    while let Some(reply) = hear(&mut answers)? {
        each(reply)?;
    }
    Ok(())
}

fn ask(interface: &str, request: &Request) -> anyhow::Result<BufReader<UnixStream>> {
    let path = socket::path(DIRECTORY, interface);
    let mut stream = UnixStream::connect(&path).with_context(|| {
        format!(
            "no nearwire serves {interface}, or you are not root ({} does not answer); \
             start it with: nearwire wg {interface}",
            path.display()
        )
    })?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).context("the daemon has gone")?;
    Ok(BufReader::new(stream))
}

fn hear(answers: &mut BufReader<UnixStream>) -> anyhow::Result<Option<Reply>> {
    let mut line = String::new();
    if answers.read_line(&mut line).context("the daemon has gone")? == 0 {
        return Ok(None);
    }
    match serde_json::from_str(&line).context("the daemon does not answer as it should")? {
        Reply::Refused(reason) => bail!("{reason}"),
        reply => Ok(Some(reply)),
    }
}
