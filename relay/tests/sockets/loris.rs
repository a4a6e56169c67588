//! Those who say a little, again and again: each has as long as the silent.

use std::time::{Duration, Instant};

use proto::relay::{
    ClientFrame, Framing, Proof, Refusal, RelayFrame, finish_frame, proof_message, split_frame,
    start_frame,
};
use relay::server::Options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::{Client, PATIENCE, Way, exporter, quic, tcp, upgrade};
use super::scene::{Scene, holder, options};

/// A byte each so often.
const TRICKLE: Duration = Duration::from_millis(50);

/// Writes byte by byte, for ever if it is let.
async fn trickle(writer: &mut (impl tokio::io::AsyncWrite + Unpin), bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        if writer.write_all(&[*byte]).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        tokio::time::sleep(TRICKLE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_little_by_little_is_let_go_as_soon_as_the_silent() {
    let options = Options { admission_time: Some(1), ..options() };
    let scene = Scene::with(options).await;
    let start = Instant::now();
    // In TLS (a record that never ends), in HTTP, in a frame, and in a frame on QUIC.
    let in_tls = async {
        let mut stream = TcpStream::connect(scene.addresses.tls).await.expect("connects");
        trickle(&mut stream, &[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3, 0, 0, 0, 0, 0]).await;
    };
    let in_http = async {
        let mut stream = tcp(&scene).await;
        trickle(&mut stream, b"GET /relay HTTP/1.1\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await;
    };
    let in_frame = async {
        let mut stream = tcp(&scene).await;
        upgrade(&mut stream).await;
        trickle(&mut stream, &[0, 0, 0, 250, 1, 0, 1]).await;
    };
    let on_quic = async {
        let (_endpoint, connection) = quic(&scene).await;
        let (mut writer, _reader) = connection.open_bi().await.expect("a stream");
        trickle(&mut writer, &[0, 0, 0, 250, 1, 0, 1]).await;
    };
    let all = async { tokio::join!(in_tls, in_http, in_frame, on_quic) };
    timeout(PATIENCE, all).await.expect("all are let go");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    scene.until("/counters/failed", 4).await;
    assert_eq!(scene.status("/counters/crowded").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_grows_without_end_is_cut() {
    let scene = Scene::new().await;
    let mut stream = tcp(&scene).await;
    let mut sent = 0;
    let head =
        b"GET /relay HTTP/1.1\r\n".iter().chain(b"A: aaaaaaaaaaaaaaaaaaaaa\r\n".iter().cycle());
    let bytes: Vec<u8> = head.take(1 << 20).copied().collect();
    for piece in bytes.chunks(1024) {
        if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
            break;
        }
        sent += piece.len();
    }
    let mut answer = Vec::new();
    // It may have been cut in the middle of what we sent.
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("ends").ok();
    assert!(answer.is_empty(), "{sent} bytes were answered");
    scene.until("/counters/failed", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_is_worth_nothing_on_another_connection() {
    let scene = Scene::new().await;
    let [mut first, mut second] = [tcp(&scene).await, tcp(&scene).await];
    let mut nonces = Vec::new();
    for stream in [&mut first, &mut second] {
        upgrade(stream).await;
        stream.write_all(&framed(&ClientFrame::Hello(1))).await.expect("says hello");
        let frame = next(stream).await;
        let Ok(RelayFrame::Challenge(_, nonce)) = RelayFrame::parse(&frame) else { panic!() };
        nonces.push(nonce);
    }
    assert_ne!(nonces[0], nonces[1]);
    let node = holder(1, 1);
    let message = proof_message(&nonces[0], &exporter(&first));
    let signature = node.identity.sign(&message);
    let proof = framed(&ClientFrame::Proof(Box::new(Proof { ticket: node.ticket, signature })));
    // Seen on the first and shown on the second, even by one who could have chosen the nonce there.
    second.write_all(&proof).await.expect("shows it");
    let refused = RelayFrame::Refused(Refusal::BadProof);
    assert_eq!(RelayFrame::parse(&next(&mut second).await), Ok(refused));
    first.write_all(&proof).await.expect("shows it");
    let welcome = next(&mut first).await;
    assert!(matches!(RelayFrame::parse(&welcome), Ok(RelayFrame::Welcome(_))));
    assert_eq!(scene.status("/refused/bad_proof").await, 1);
    // Shown once more to prolong: the same connection, so it is still a proof, and no more than one.
    first.write_all(&proof).await.expect("shows it");
    let again = next(&mut first).await;
    assert!(matches!(RelayFrame::parse(&again), Ok(RelayFrame::Welcome(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_and_lanes_have_their_limits() {
    let limits = Options { network_clients: Some(3), client_lanes: Some(1), ..options() };
    let scene = Scene::with(limits).await;
    let mut a = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    let mut b = Client::new(&scene, Way::Tls, holder(1, 2)).await;
    let c = Client::new(&scene, Way::Tls, holder(1, 3)).await;
    let fourth = Client::try_new(&scene, Way::Tls, holder(1, 4)).await.err();
    assert_eq!(fourth, Some(relay_client::SessionError::Refused(Refusal::NetworkFull)));
    Client::new(&scene, Way::Tls, holder(2, 4)).await;
    super::lane::open(&mut a, &mut b).await;
    a.session.open_lane(c.key);
    a.flush().await;
    let refused = relay_client::Event::LaneRefused(c.key, proto::relay::LaneRefused::TooMany);
    assert_eq!(a.event().await, refused);
    assert_eq!(scene.status("/totals/lanes").await, 1);
}

fn framed(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = start_frame(&mut bytes);
    frame.write(&mut bytes);
    finish_frame(&mut bytes, start);
    bytes
}

async fn next(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut held = Vec::new();
    loop {
        if let Some((frame, _)) = split_frame(&held, Framing::Admitted).expect("a frame") {
            return frame.to_vec();
        }
        let read = timeout(PATIENCE, stream.read_buf(&mut held)).await.expect("in time");
        assert!(read.expect("reads") > 0, "it ended");
    }
}
