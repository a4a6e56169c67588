//! QUIC between relays. TLS keeps what is said secret; who the other is, is proven after it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use proto::mesh::MESH_ALPN;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::server::udp_socket;

/// The name in certificates between relays.
pub(super) const NAME: &str = "mesh.nearwire";
/// What the other may have on its way to us in a stream, and in datagrams.
const WINDOW: u32 = 1 << 20;
/// Room for datagrams that quinn has not sent yet. It cannot be overtaken.
const DATAGRAMS: usize = 128 << 10;
/// Streams at once, each with packets that are too long for datagrams.
const LONG: u32 = 256;
/// The core finds a dead link long before; this ends what it has let go.
const SILENCE: Duration = Duration::from_secs(5);

/// Opens the endpoint, which takes and dials.
pub(super) fn endpoint(address: SocketAddr) -> Result<Endpoint> {
    let transport = Arc::new(transport()?);
    let mut server = ServerConfig::with_crypto(Arc::new(taking()?));
    server.transport_config(transport.clone());
    let mut client = ClientConfig::new(Arc::new(dialling()?));
    client.transport_config(transport);
    let socket = udp_socket::bound(address, "mesh")?.into();
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime)
        .context("starting QUIC between relays")?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

fn taking() -> Result<QuicServerConfig> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])
        .context("making a certificate for the mesh")?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .context("offering TLS 1.3")?
    .with_no_client_auth()
    .with_single_cert(vec![made.cert.der().clone()], key.into())
    .context("using the certificate that was made")?;
    config.alpn_protocols = vec![MESH_ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).context("preparing TLS for QUIC")
}

/// Any certificate is good, if its owner has its key: the end of the connection is proven by its
/// [hello](proto::mesh::Hello), which covers what this very TLS session exports.
fn dialling() -> Result<QuicClientConfig> {
    let mut config = tls_trust::anybody().context("offering TLS 1.3")?;
    config.alpn_protocols = vec![MESH_ALPN.to_vec()];
    QuicClientConfig::try_from(config).context("preparing TLS for QUIC")
}

fn transport() -> Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(LONG))
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(8 * WINDOW))
        .send_window((8 * WINDOW).into())
        .datagram_receive_buffer_size(Some(WINDOW as usize))
        .datagram_send_buffer_size(DATAGRAMS)
        .max_idle_timeout(Some(SILENCE.try_into().context("the idle time of QUIC")?));
    Ok(transport)
}
