//! A client of iroh-relay, as iroh itself uses it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use iroh_base::{EndpointId, RelayUrl, SecretKey};
use iroh_dns::dns::DnsResolver;
use iroh_relay::client::{ClientBuilder, ClientSink, ClientStream};
use iroh_relay::protos::relay::{ClientToRelayMsg, Datagrams, RelayToClientMsg};

use crate::certificate;
use crate::connection::{Receiver, Sender};

pub(crate) struct Client {
    pub(crate) id: EndpointId,
    sink: ClientSink,
    stream: ClientStream,
}

/// What the relay says to a client.
pub(crate) struct Incoming(ClientStream);

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
        (Sender::Iroh(self.sink, peer), Receiver::Iroh(Incoming(self.stream)))
    }

    /// Does nothing but answer the relay's pings.
    pub(crate) async fn idle(mut self) -> Result<()> {
        use futures_util::SinkExt as _;
        while let Some(message) = self.stream.next().await {
            if let RelayToClientMsg::Ping(payload) = message? {
                self.sink.send(ClientToRelayMsg::Pong(payload)).await?;
            }
        }
        Ok(())
    }
}

impl Incoming {
    /// The next packets. A load ends long before an unanswered ping ends the connection.
    pub(crate) async fn datagrams(&mut self) -> Result<Datagrams> {
        loop {
            match self.0.next().await.context("the relay ended a connection")?? {
                RelayToClientMsg::Datagrams { datagrams, .. } => return Ok(datagrams),
                RelayToClientMsg::EndpointGone(id) => bail!("{id} is gone"),
                _ => {}
            }
        }
    }
}
