//! The daemon's own socket, for `nearwire` commands: one JSON request a line, one JSON reply.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use super::policy::PolicyStatus;
use super::socket::{self, Socket};

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
        /// The file's name, for errors.
        name: String,
        /// The document.
        text: String,
    },
    /// What was dropped by the tunnel, and why.
    Drops,
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
    /// The counters of the policy; none if there is no policy.
    PolicyStatus(Option<PolicyStatus>),
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
    /// It was not done, and why.
    Refused(String),
}

/// Packets dropped, by the reason's label.
pub(crate) type DropCounts = BTreeMap<String, u64>;

/// A request from a client, with the way back to it.
pub(super) type Call = (Request, tokio::sync::oneshot::Sender<Reply>);

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
    let reply = match serde_json::from_str(&line) {
        Ok(request) => {
            let (reply, answer) = tokio::sync::oneshot::channel();
            calls.send((request, reply)).await?;
            answer.await?
        }
        Err(error) => Reply::Refused(format!("this daemon does not know the request: {error}")),
    };
    let mut line = serde_json::to_string(&reply)?;
    line.push('\n');
    writer.write_all(line.as_bytes()).await?;
    Ok(())
}

/// Asks the daemon of an interface.
pub(crate) fn call(interface: &str, request: &Request) -> anyhow::Result<Reply> {
    let path = socket::path(DIRECTORY, interface);
    let mut stream = UnixStream::connect(&path).with_context(|| {
        format!(
            "no nearwire serves {interface}, or you are not root ({} does not answer); \
             start it with: nearwire wg {interface}",
            path.display()
        )
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).context("the daemon has gone")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).context("the daemon has gone")?;
    match serde_json::from_str(&answer).context("the daemon does not answer as it should")? {
        Reply::Refused(reason) => bail!("{reason}"),
        reply => Ok(reply),
    }
}
