//! One node without tunnels: the real protocol on a connection of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use control_client::{Client, ClientError, Frames, Session, Trust};
use proto::control::{AuthKey, Base64Signature, EnrolRequest, Frame, NodeId, Report, VERSIONS};
use proto::key::PublicKey;
use proto::ticket::SigningKey;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::board::{Board, News};

/// How often a busy server is asked.
const TRIES: u32 = 5;

pub(crate) struct Node {
    client: Client,
    session: Session,
    listening: JoinHandle<()>,
}

/// Enrols with a new key, which is given.
pub(crate) async fn enrol(
    number: usize,
    client: &Client,
    auth_key: &str,
) -> Result<(NodeId, SigningKey)> {
    let key = SigningKey::from_seed(&Zeroizing::new(random()?)).context("no seed")?;
    let mut request = EnrolRequest {
        versions: VERSIONS.to_vec(),
        auth_key: AuthKey::new(auth_key),
        node_key: key.verifying_key(),
        wireguard_key: PublicKey::from(random::<32>()?),
        hostname: format!("load{number}"),
        os: "linux".to_owned(),
        agent: "control-load".to_owned(),
        routes: Vec::new(),
        proof: Base64Signature([0; 64]),
    };
    request.sign(&key);
    let node = again(|| client.enrol(&request)).await.context("enrolling")?.node;
    Ok((node, key))
}

impl Node {
    /// Enrols, begins a session, and listens from its first netmap on.
    pub(crate) async fn join(
        number: usize,
        url: &str,
        trust: &Trust,
        auth_key: &str,
        board: Arc<Board>,
    ) -> Result<Self> {
        let client = Client::new(url, trust)?;
        let (node, key) = enrol(number, &client, auth_key).await?;
        let session = again(|| client.log_in(node, &key)).await.context("logging in")?;
        let mut frames = again(|| client.stream(&session, None)).await.context("listening")?;
        let first = frames.next().await?.context("the stream ends at once")?;
        first.snapshot.context("no snapshot comes first")?;
        let listening = tokio::spawn(listen(number, node, frames, board));
        Ok(Self { client, session, listening })
    }

    /// Moves to another port.
    pub(crate) async fn report_port(&self, port: u16) -> Result<()> {
        let endpoint = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port));
        let report = Report { endpoints: Some(vec![endpoint]), ..Report::default() };
        Ok(self.client.report(&self.session, &report).await?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What it hears goes to the board.
async fn listen(number: usize, id: NodeId, mut frames: Frames, board: Arc<Board>) {
    loop {
        match frames.next().await {
            Ok(Some(Frame { end: None, delta: Some(delta), .. })) => {
                let ports = delta.peers.iter().filter_map(|peer| peer.endpoints.first());
                let ports = ports.map(|endpoint| News::Endpoint(endpoint.port()));
                let has_filter = delta.filter.is_some() || delta.filter_edit.is_some();
                board.hear(number, ports.chain(has_filter.then_some(News::Filter)));
            }
            Ok(Some(Frame { end: None, .. })) => board.hear(number, std::iter::empty()),
            Ok(other) => return eprintln!("{id}: the stream has ended: {other:?}"),
            Err(error) => return eprintln!("{id}: the stream broke: {error}"),
        }
    }
}

async fn again<T, F: Future<Output = Result<T, ClientError>>>(ask: impl Fn() -> F) -> Result<T> {
    for attempt in 1..=TRIES {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(ClientError::Refused { status: 503, .. } | ClientError::Unreachable(_))
                if attempt < TRIES =>
            {
                tokio::time::sleep(Duration::from_secs(1)).await
            }
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the server is too busy")
}

fn random<const LEN: usize>() -> Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("no random bytes"))?;
    Ok(bytes)
}
