//! How connections are: TLS, limits, and what they may keep.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{Endpoint, EndpointConfig, ServerConfig, TransportConfig, VarInt};

use super::steering::Steering;
use crate::server::tls::Identity;

/// What one client may have on its way to us in streams, and in datagrams.
const WINDOW: u32 = 256 << 10;
/// Room for datagrams that have not left yet: a slow path's worth.
const DATAGRAMS: usize = 32 << 10;
/// QUIC finds a dead path by itself after this.
const SILENCE: Duration = Duration::from_secs(60);

/// What all shards have in common.
pub(super) struct Settings {
    endpoint: EndpointConfig,
    server: Arc<ServerConfig>,
}

impl Settings {
    pub(super) fn new(identity: &Identity) -> Result<Self> {
        let crypto = QuicServerConfig::try_from(identity.quic_config()?)
            .context("preparing TLS for QUIC")?;
        let mut server = ServerConfig::with_crypto(Arc::new(crypto));
        server.transport_config(Arc::new(transport()?));
        Ok(Self { endpoint: EndpointConfig::default(), server: Arc::new(server) })
    }

    /// A shard's endpoint.
    pub(super) fn endpoint(&self, steering: Steering, shard: u8) -> Endpoint {
        let mut config = self.endpoint.clone();
        config.cid_generator(move || Box::new(steering.ids(shard)));
        Endpoint::new(Arc::new(config), Some(self.server.clone()), true, None)
    }
}

fn transport() -> Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(2 * WINDOW))
        .send_window(WINDOW.into())
        .datagram_receive_buffer_size(Some(WINDOW as usize))
        .datagram_send_buffer_size(DATAGRAMS)
        .max_idle_timeout(Some(SILENCE.try_into().context("the idle time of QUIC")?));
    Ok(transport)
}
