//! A node without tunnels.

use std::time::Duration;

use control_client::{Client, ClientError, Frames, Session};
use proto::control::{
    AuthKey, Base64Signature, EndReason, EnrolRequest, EnrolResponse, Frame, Netmap, NodeId,
    VERSIONS,
};
use proto::key::PublicKey;
use proto::ticket::SigningKey;
use zeroize::Zeroizing;

/// How long something may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Agent {
    pub(crate) client: Client,
    pub(crate) key: SigningKey,
    pub(crate) enrolled: EnrolResponse,
    pub(crate) session: Session,
    frames: Option<Frames>,
    pub(crate) netmap: Netmap,
}

pub(crate) fn signing_key(seed: u16) -> SigningKey {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    SigningKey::from_seed(&Zeroizing::new(bytes)).unwrap()
}

pub(crate) fn wireguard_key(seed: u16) -> PublicKey {
    let mut bytes = [9; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    PublicKey::from(bytes)
}

pub(crate) fn request(auth_key: &str, seed: u16) -> EnrolRequest {
    let key = signing_key(seed);
    let mut request = EnrolRequest {
        versions: VERSIONS.to_vec(),
        auth_key: AuthKey::new(auth_key),
        node_key: key.verifying_key(),
        wireguard_key: wireguard_key(seed),
        hostname: "Host.example.com".to_owned(),
        os: "linux".to_owned(),
        agent: "test".to_owned(),
        routes: Vec::new(),
        proof: Base64Signature([0; 64]),
    };
    request.sign(&key);
    request
}

impl Agent {
    /// Enrols, begins a session, and hears the first netmap.
    pub(crate) async fn join(client: Client, auth_key: &str, seed: u16) -> Self {
        let enrolled = client.enrol(&request(auth_key, seed)).await.unwrap();
        Self::arrive(client, enrolled, seed).await
    }

    pub(crate) async fn arrive(client: Client, enrolled: EnrolResponse, seed: u16) -> Self {
        let key = signing_key(seed);
        let session = client.log_in(enrolled.node, &key).await.unwrap();
        let mut frames = client.stream(&session, None).await.unwrap();
        let first = frames.next().await.unwrap().unwrap();
        let netmap = first.snapshot.expect("a snapshot comes first").into();
        Self { client, key, enrolled, session, frames: Some(frames), netmap }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.enrolled.node
    }

    async fn next(&mut self) -> Frame {
        let frames = self.frames.as_mut().expect("a stream");
        let next = tokio::time::timeout(PATIENCE, frames.next()).await;
        next.expect("in time").unwrap().expect("more")
    }

    /// Listens until what it knows is so.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Netmap) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !is_so(&self.netmap) {
            assert!(tokio::time::Instant::now() < deadline, "not yet: {what}");
            let frame = self.next().await;
            if let Some(snapshot) = frame.snapshot {
                self.netmap = snapshot.into();
            }
            if let Some(delta) = frame.delta {
                self.netmap.apply(delta).unwrap();
            }
            assert!(frame.end.is_none(), "{what}: {:?}", frame.end);
        }
    }

    /// Listens until the stream ends.
    pub(crate) async fn end(&mut self) -> EndReason {
        loop {
            let frame = self.next().await;
            if let Some(end) = frame.end {
                return end.reason;
            }
        }
    }

    /// Breaks the stream.
    pub(crate) fn hang_up(&mut self) {
        self.frames = None;
    }

    /// Comes again; gives the first frame.
    pub(crate) async fn resume(&mut self, client: &Client) -> Result<Frame, ClientError> {
        self.frames = Some(client.stream(&self.session, Some(self.netmap.revision)).await?);
        Ok(self.next().await)
    }

    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.netmap.peers.keys().copied().collect()
    }
}
