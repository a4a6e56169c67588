//! A link between a client and the relay that is as slow as the test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use relay::server::Addresses;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::scene::{Relay, Scene};

/// How often the link carries something.
const TICK: Duration = Duration::from_millis(10);
/// Small, so that what waits waits at the relay.
const BUFFER: u32 = 16 << 10;

/// A TCP link for one client.
pub(crate) struct Bottleneck {
    pub(crate) relay: Relay,
    /// Bytes that it carries to the client each tick.
    pub(crate) rate: Arc<AtomicUsize>,
}

impl Bottleneck {
    /// A link that is fast, for now.
    pub(crate) async fn new(scene: &Scene) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let rate = Arc::new(AtomicUsize::new(1 << 20));
        let tls = listener.local_addr().expect("bound");
        let (to, carries) = (scene.addresses.tls, rate.clone());
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.expect("a client");
            carry(client, to, &carries).await;
        });
        let addresses = Addresses { tls, ..scene.addresses };
        Self { relay: Relay { addresses, fingerprint: scene.fingerprint.clone() }, rate }
    }
}

async fn carry(mut client: TcpStream, to: SocketAddr, rate: &AtomicUsize) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(BUFFER).expect("a small buffer");
    let mut relay = socket.connect(to).await.expect("connects");
    let (mut from_relay, mut to_relay) = relay.split();
    let (mut from_client, mut to_client) = client.split();
    let down = async {
        let mut tick = tokio::time::interval(TICK);
        let mut buffer = vec![0; 1 << 20];
        loop {
            tick.tick().await;
            let room = rate.load(Ordering::Relaxed).min(buffer.len());
            if room == 0 {
                continue;
            }
            match from_relay.read(&mut buffer[..room]).await {
                Ok(read @ 1..) if to_client.write_all(&buffer[..read]).await.is_ok() => {}
                _ => return,
            }
        }
    };
    tokio::select! {
        () = down => {}
        _ = tokio::io::copy(&mut from_client, &mut to_relay) => {}
    }
}
