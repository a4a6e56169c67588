//! A link between a client and the relay that is as slow as the test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use relay::server::Addresses;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::client::Way;
use super::scene::{Relay, Scene};

/// How often the link carries something.
const TICK: Duration = Duration::from_millis(10);
/// Small, so that what waits waits at the relay.
const BUFFER: u32 = 16 << 10;

/// What a UDP link without limits carries.
pub(crate) const WIDE: usize = 65_535;

/// A link for one client.
pub(crate) struct Bottleneck {
    pub(crate) relay: Relay,
    /// Bytes that it carries to the client each tick.
    pub(crate) rate: Arc<AtomicUsize>,
}

impl Bottleneck {
    /// A link that is fast, for now.
    pub(crate) async fn new(scene: &Scene, way: Way) -> Self {
        match way {
            Way::Quic => Self::udp(scene, WIDE).await,
            Way::Tls => Self::tcp(scene).await,
        }
    }

    /// A UDP link that carries no datagram longer than this.
    pub(crate) async fn udp(scene: &Scene, longest: usize) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let far = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        far.connect(scene.addresses.quic.expect("it takes QUIC")).await.expect("an address");
        // What it does not read in time is lost.
        SockRef::from(&far).set_recv_buffer_size(BUFFER as usize).expect("a small buffer");
        let quic = Some(near.local_addr().expect("bound"));
        let rate = Arc::new(AtomicUsize::new(1 << 20));
        let carries = rate.clone();
        tokio::spawn(async move { carry_datagrams(&near, &far, &carries, longest).await });
        let addresses = Addresses { quic, ..scene.addresses };
        Self { relay: Relay { addresses, fingerprint: scene.fingerprint.clone() }, rate }
    }

    async fn tcp(scene: &Scene) -> Self {
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

async fn carry_datagrams(near: &UdpSocket, far: &UdpSocket, rate: &AtomicUsize, longest: usize) {
    let (mut up, mut down) = (vec![0; WIDE], vec![0; WIDE]);
    let mut client = None;
    let mut tick = tokio::time::interval(TICK);
    let mut room = 0;
    loop {
        tokio::select! {
            Ok((len, from)) = near.recv_from(&mut up) => {
                client = Some(from);
                if len <= longest {
                    // A network may lose what it cannot take.
                    let _ = far.send(&up[..len]).await;
                }
            }
            _ = tick.tick() => room = rate.load(Ordering::Relaxed),
            Ok(len) = far.recv(&mut down), if room > 0 => {
                room = room.saturating_sub(len);
                if let Some(client) = client.filter(|_| len <= longest) {
                    let _ = near.send_to(&down[..len], client).await;
                }
            }
        }
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
