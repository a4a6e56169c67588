//! The socket of the daemon: one JSON request a line, then replies, a line each.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, bail};
use proto::control::{AuthKey, NodeId};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::{NetReport, PathReport, Settings, Status};

/// Where it is if nothing else is said.
pub(crate) const SOCKET: &str = "/run/nearwire/nearwire.sock";
/// The longest request.
const REQUEST_LIMIT: u64 = 1 << 20;

/// What a command asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Come into the mesh, or stay there by other settings.
    Up {
        settings: Box<Settings>,
        /// By what right; not needed by a node that is enrolled.
        auth_key: Option<AuthKey>,
    },
    /// Leave the mesh until the next `Up`.
    Down,
    /// Leave it for good: the node is forgotten, here and there.
    Leave,
    Status,
    /// Say why a peer is reached as it is.
    Explain {
        node: NodeId,
    },
    /// Say what the host's network lets through.
    Netcheck,
    /// Take another WireGuard key.
    Rotate,
}

/// What the daemon answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// It goes on: what is being done.
    Progress(String),
    Status(Box<Status>),
    Explained(Box<PathReport>),
    Netcheck(Box<NetReport>),
    Done(Done),
    Refused(String),
}

/// It was done: what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) state: Outcome,
    /// More, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

/// How the node is by what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Connected,
    /// An operator has to approve it.
    Pending,
    /// The control plane is away; it is up by what it knew.
    Offline,
    Down,
    Rotating,
    Left,
}

impl Outcome {
    /// With nothing more to say.
    pub(crate) const fn alone(self) -> Done {
        Done { state: self, detail: None }
    }

    pub(crate) fn because(self, detail: impl Into<String>) -> Done {
        Done { state: self, detail: Some(detail.into()) }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Pending => "pending",
            Self::Offline => "offline",
            Self::Down => "down",
            Self::Rotating => "rotating",
            Self::Left => "left",
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state.text())?;
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

/// A request, and where its replies go.
pub(super) type Call = (Request, mpsc::Sender<Reply>);

/// The socket for commands: for root and, if one is named, a group.
pub(super) fn listen(path: &Path, group: Option<u32>) -> anyhow::Result<tokio::net::UnixListener> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    }
    if UnixStream::connect(path).is_ok() {
        bail!("another nearwire daemon serves {}", path.display());
    }
    // One that nobody serves is left from before.
    let _ = fs::remove_file(path);
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = tokio::net::UnixListener::bind(path);
    rustix::process::umask(umask);
    let listener = listener.with_context(|| format!("cannot listen on {}", path.display()))?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group))
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o660)))
            .with_context(|| format!("cannot give {} to its group", path.display()))?;
    }
    Ok(listener)
}

/// Passes the requests of a client on.
pub(super) async fn talk(
    client: tokio::net::UnixStream,
    calls: mpsc::Sender<Call>,
) -> anyhow::Result<()> {
    let (reader, mut writer) = client.into_split();
    let mut lines = tokio::io::BufReader::new(reader).take(REQUEST_LIMIT).lines();
    while let Some(line) = lines.next_line().await? {
        lines.get_mut().set_limit(REQUEST_LIMIT);
        let (replies, mut inbox) = mpsc::channel(16);
        match serde_json::from_str(&line) {
            Ok(request) => calls.send((request, replies)).await?,
            Err(error) => {
                let reason = format!("this daemon does not know the request: {error}");
                replies.send(Reply::Refused(reason)).await?;
                drop(replies);
            }
        }
        while let Some(reply) = inbox.recv().await {
            let mut line = serde_json::to_string(&reply)?;
            line.push('\n');
            writer.write_all(line.as_bytes()).await?;
        }
    }
    Ok(())
}

const OTHER: &str = "the daemon answered something else";

/// The end of a command: asks, shows progress, and gives the last reply.
pub(crate) struct Caller(BufReader<UnixStream>);

impl Caller {
    pub(crate) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| {
            format!(
                "no nearwire daemon answers at {}, or you may not speak to it; start it with: \
                 systemctl start nearwire (or: nearwire daemon)",
                socket.display()
            )
        })?;
        Ok(Self(BufReader::new(stream)))
    }

    fn ask(&mut self, request: &Request, mut progress: impl FnMut(&str)) -> anyhow::Result<Reply> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.0.get_mut().write_all(line.as_bytes()).context("the daemon has gone")?;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).context("the daemon has gone")? == 0 {
                bail!("the daemon has gone");
            }
            match serde_json::from_str(&line).context("the daemon does not answer as it should")? {
                Reply::Progress(what) => progress(&what),
                Reply::Refused(reason) => bail!("{reason}"),
                reply => return Ok(reply),
            }
        }
    }

    pub(crate) fn status(&mut self) -> anyhow::Result<Status> {
        match self.ask(&Request::Status, |_| {})? {
            Reply::Status(status) => Ok(*status),
            _ => bail!(OTHER),
        }
    }

    pub(crate) fn explain(&mut self, node: &str) -> anyhow::Result<PathReport> {
        let node = node.parse().context("the daemon names a peer that is none")?;
        match self.ask(&Request::Explain { node }, |_| {})? {
            Reply::Explained(report) => Ok(*report),
            _ => bail!(OTHER),
        }
    }

    pub(crate) fn netcheck(&mut self) -> anyhow::Result<NetReport> {
        match self.ask(&Request::Netcheck, |_| {})? {
            Reply::Netcheck(report) => Ok(*report),
            _ => bail!(OTHER),
        }
    }

    /// Asks for something to be done; gives what came of it.
    pub(crate) fn done(
        &mut self,
        request: &Request,
        progress: impl FnMut(&str),
    ) -> anyhow::Result<Done> {
        match self.ask(request, progress)? {
            Reply::Done(what) => Ok(what),
            _ => bail!(OTHER),
        }
    }
}
