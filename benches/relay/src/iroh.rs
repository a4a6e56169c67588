//! A client of iroh-relay, as iroh itself uses it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use iroh_base::{EndpointId, RelayUrl, SecretKey};
use iroh_dns::dns::DnsResolver;
use iroh_relay::client::{ClientBuilder, ClientSink, ClientStream};
use iroh_relay::protos::relay::{ClientToRelayMsg, Datagrams, RelayToClientMsg};

use tokio::sync::Mutex;

use crate::certificate;
use crate::connection::{Receiver, Sender};

pub(crate) struct Client {
    pub(crate) id: EndpointId,
    sink: ClientSink,
    stream: ClientStream,
}

/// What the relay says to a client, whose pings are answered.
pub(crate) struct Incoming {
    stream: ClientStream,
    sink: SharedSink,
}

/// Packets and the answers to pings go the same way.
pub(crate) type SharedSink = Arc<Mutex<ClientSink>>;

impl Client {
    pub(crate) async fn connect(relay: SocketAddr, tls: bool, number: usize) -> Result<Self> {
        let scheme = if tls { "https" } else { "http" };
        let url: RelayUrl = format!("{scheme}://{relay}").parse()?;
        let mut seed = [3; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let secret = SecretKey::from_bytes(&seed);
        let id = secret.public();
        let client = ClientBuilder::new(url, secret, DnsResolver::new())
            .tls_client_config(certificate::client(b"")?)
            .connect()
            .await?;
        let (stream, sink) = client.split();
        Ok(Self { id, sink, stream })
    }

    pub(crate) fn link(self, peer: EndpointId) -> (Sender, Receiver) {
        let sink = Arc::new(Mutex::new(self.sink));
        let incoming = Incoming { stream: self.stream, sink: sink.clone() };
        (Sender::Iroh(sink, peer), Receiver::Iroh(incoming))
    }
}

impl Incoming {
    /// The next packets.
    pub(crate) async fn datagrams(&mut self) -> Result<Datagrams> {
        loop {
            match self.stream.next().await.context("the relay ended a connection")?? {
                RelayToClientMsg::Ping(payload) => {
                    self.sink.lock().await.send(ClientToRelayMsg::Pong(payload)).await?;
                }
                RelayToClientMsg::Datagrams { datagrams, .. } => return Ok(datagrams),
                RelayToClientMsg::EndpointGone(id) => bail!("{id} is gone"),
                _ => {}
            }
        }
    }
}
