//! What those who are nobody's clients can do: nothing, and not for long.

use std::time::{Duration, Instant};

use proto::lane::{LaneId, LaneMessage, LaneSecret, Proof};
use proto::relay::{ClientFrame, Refusal, RelayFrame, finish_frame, start_frame};
use relay_client::{LaneEnd, SessionError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::client::{Client, PATIENCE, Way, quic, tcp, upgrade};
use super::lane::{Lane, open};
use super::scene::{Scene, holder, options};

fn bytes(message: &LaneMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_is_bound_by_its_owner_only_and_nothing_is_amplified() {
    let scene = Scene::new().await;
    let mut a = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    let mut b = Client::new(&scene, Way::Tls, holder(1, 2)).await;
    let [end_a, end_b] = open(&mut a, &mut b).await;
    let mut lane_b = Lane::bind(&end_b, false).await;
    let thief = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let relay = lane_b.relay;
    let (mut sent, mut answered) = (0, 0);
    let mut buffer = [0; 2048];
    // A cookie is given to anybody who receives; without the secret it is worth nothing.
    let bind = bytes(&LaneMessage::Bind(end_a.lane));
    thief.send_to(&bind, relay).await.expect("sends");
    let (len, _) = thief.recv_from(&mut buffer).await.expect("a challenge");
    (sent, answered) = (sent + bind.len(), answered + len);
    let Some(LaneMessage::Challenge(_, cookie)) = LaneMessage::parse(&buffer[..len]) else {
        panic!("no challenge");
    };
    for secret in [&end_b.secret, &LaneSecret::from([0; 16])] {
        let proof = bytes(&LaneMessage::Prove(Proof::new(secret, end_a.lane, cookie, 9)));
        thief.send_to(&proof, relay).await.expect("sends");
        let (len, _) = thief.recv_from(&mut buffer).await.expect("a refusal");
        (sent, answered) = (sent + proof.len(), answered + len);
        assert!(matches!(LaneMessage::parse(&buffer[..len]), Some(LaneMessage::Refused(..))));
    }
    // Its owner's proof, seen on the wire and sent from elsewhere, binds nothing either.
    let mut owner = Lane::bind(&end_a, false).await;
    let proof = bytes(&LaneMessage::Prove(Proof::new(&end_a.secret, end_a.lane, cookie, 99)));
    let other = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    other.send_to(&proof, relay).await.expect("sends");
    let (len, _) = other.recv_from(&mut buffer).await.expect("a refusal");
    assert!(matches!(LaneMessage::parse(&buffer[..len]), Some(LaneMessage::Refused(..))));
    // Data of somebody else goes nowhere, and junk is not answered.
    thief.send_to(&bytes(&LaneMessage::Data(end_b.lane, b"spoofed")), relay).await.expect("sends");
    scene.until("/drops/lane_source", 1).await;
    for id in 1..200_u32 {
        let lane = LaneId::from_number(id).expect("not zero");
        let all = [
            LaneMessage::Bind(lane),
            LaneMessage::Keepalive(lane, 1),
            LaneMessage::Data(lane, b"x"),
            LaneMessage::Challenge(lane, cookie),
            LaneMessage::Prove(Proof::new(&end_a.secret, lane, cookie, 1)),
        ];
        for message in all {
            let bytes = bytes(&message);
            thief.send_to(&bytes, relay).await.expect("sends");
            sent += bytes.len();
        }
        let junk = vec![0xb7; id as usize];
        thief.send_to(&junk, relay).await.expect("sends");
        sent += junk.len();
    }
    while let Ok(received) = timeout(Duration::from_millis(300), thief.recv(&mut buffer)).await {
        answered += received.expect("receives");
    }
    assert!(answered > 0 && answered <= sent, "{answered} bytes for {sent}");
    // And the lane is as it was.
    owner.send(b"mine").await;
    assert_eq!(lane_b.receive().await, b"mine");
    lane_b.send(b"back").await;
    assert_eq!(owner.receive().await, b"back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_owner_has_sent_binds_nothing_from_elsewhere() {
    let scene = Scene::new().await;
    let mut a = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    let mut b = Client::new(&scene, Way::Tls, holder(1, 2)).await;
    let [end_a, end_b] = open(&mut a, &mut b).await;
    let mut lane_b = Lane::bind(&end_b, false).await;
    let relay = lane_b.relay;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut owner = Lane { end: LaneEnd::new(&end_a, 1, Instant::now()), socket, relay };
    let mut seen = Vec::new();
    while !owner.end.is_bound() {
        while let Some(bytes) = owner.end.poll_transmit(Instant::now()) {
            owner.socket.send_to(&bytes, relay).await.expect("sends");
            seen.push(bytes);
        }
        let answer = owner.datagram().await;
        owner.end.receive(&answer, Instant::now());
    }
    assert!(seen.len() >= 2, "bind and prove");
    let thief = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut buffer = [0; 2048];
    for bytes in &seen {
        thief.send_to(bytes, relay).await.expect("sends");
        let answer = timeout(PATIENCE, thief.recv(&mut buffer)).await.expect("in time");
        let answer = LaneMessage::parse(&buffer[..answer.expect("receives")]);
        // A cookie for its own address, which it cannot prove; and not what the owner's proof had.
        assert!(
            matches!(answer, Some(LaneMessage::Challenge(..) | LaneMessage::Refused(..))),
            "{answer:?}"
        );
    }
    lane_b.send(b"for the owner").await;
    assert_eq!(owner.receive().await, b"for the owner");
    owner.send(b"and back").await;
    assert_eq!(lane_b.receive().await, b"and back");
    assert!(thief.try_recv(&mut buffer).is_err(), "the thief had something of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_or_little_is_let_go_in_time() {
    let options =
        relay::server::Options { admission_time: Some(1), source_admissions: Some(8), ..options() };
    let scene = Scene::with(options).await;
    let start = Instant::now();
    // Silent on TCP, silent after TLS, silent after HTTP, silent after hello; and silent on QUIC.
    let mut silent = TcpStream::connect(scene.addresses.tls).await.expect("connects");
    let mut after_tls = tcp(&scene).await;
    let mut after_http = tcp(&scene).await;
    upgrade(&mut after_http).await;
    let mut after_hello = tcp(&scene).await;
    upgrade(&mut after_hello).await;
    let mut hello = Vec::new();
    let at = start_frame(&mut hello);
    ClientFrame::Hello(1).write(&mut hello);
    finish_frame(&mut hello, at);
    after_hello.write_all(&hello).await.expect("says hello");
    let (_endpoint, connection) = quic(&scene).await;
    let mut nothing = Vec::new();
    timeout(PATIENCE, silent.read_to_end(&mut nothing)).await.expect("ends").ok();
    for stream in [&mut after_tls, &mut after_http] {
        timeout(PATIENCE, stream.read_to_end(&mut nothing)).await.expect("ends").ok();
    }
    assert!(nothing.is_empty());
    timeout(PATIENCE, after_hello.read_to_end(&mut nothing)).await.expect("ends").ok();
    let challenge = RelayFrame::parse(nothing.get(4..).expect("a frame"));
    assert!(matches!(challenge, Ok(RelayFrame::Challenge(..))));
    timeout(PATIENCE, connection.closed()).await.expect("ends");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // All places are free again.
    let _client = Client::new(&scene, Way::Tls, holder(1, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_source_has_so_many_places_and_no_more() {
    let options =
        relay::server::Options { admission_time: Some(2), source_admissions: Some(4), ..options() };
    let scene = Scene::with(options).await;
    let mut client = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(TcpStream::connect(scene.addresses.tls).await.expect("connects"));
    }
    scene.until("/counters/crowded", 16).await;
    // Who is a client does not notice.
    client.session.ping(1);
    client.flush().await;
    assert_eq!(client.event().await, relay_client::Event::Pong(1));
    // When the crowd's time is over, others get in.
    scene.until("/counters/failed", 4).await;
    let _other = Client::new(&scene, Way::Tls, holder(1, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_the_rules_is_told_and_let_go() {
    let scene = Scene::new().await;
    let wrongs = [&[0, 0, 0, 1, 99][..], &[0xff; 8], &[0, 0, 0, 2, 4, 7]];
    for wrong in wrongs {
        let mut stream = tcp(&scene).await;
        upgrade(&mut stream).await;
        stream.write_all(wrong).await.expect("writes");
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("ends").ok();
        assert_eq!(answer, [0, 0, 0, 2, 24, 2], "refused: malformed");
    }
    assert_eq!(scene.status("/refused/malformed").await, 3);
    // And so is one who was admitted.
    for way in [Way::Quic, Way::Tls] {
        for wrong in wrongs {
            let mut client = Client::new(&scene, way, holder(1, 1)).await;
            client.write(wrong).await;
            let over = client.next().await;
            assert_eq!(over, Err(SessionError::Refused(Refusal::Malformed)), "{way:?}");
        }
    }
    assert_eq!(scene.status("/refused/malformed").await, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_relay_has_quic_prove_its_source_and_still_admits() {
    let options = relay::server::Options { admissions: Some(8), ..options() };
    let scene = Scene::with(options).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(TcpStream::connect(scene.addresses.tls).await.expect("connects"));
    }
    // A quarter of the places is taken: from here on QUIC goes by a retry.
    let mut client = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    client.session.ping(1);
    client.flush().await;
    assert_eq!(client.event().await, relay_client::Event::Pong(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stun_tells_an_asker_its_address() {
    let scene = Scene::new().await;
    let port = scene.addresses.lanes.expect("lanes").port();
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[9; 12]].concat();
    for ip in ["127.0.0.1", "::1"] {
        let ip: std::net::IpAddr = ip.parse().expect("an address");
        let asker = UdpSocket::bind((ip, 0)).await.expect("a socket");
        asker.send_to(&request, (ip, port)).await.expect("asks");
        let mut answer = [0; 200];
        let (len, from) = timeout(PATIENCE, asker.recv_from(&mut answer))
            .await
            .expect("in time")
            .expect("answers");
        assert_eq!((from.ip(), from.port()), (ip, port));
        assert_eq!(answer[..2], [1, 1], "a success");
        assert_eq!(answer[4..20], request[4..]);
        assert_eq!(answer[20..22], [0, 0x20], "an address, hidden");
        // The port is hidden by the cookie's beginning, the address by all of it.
        let hidden = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
        assert_eq!(hidden, asker.local_addr().expect("bound").port());
        let address: Vec<u8> =
            answer[28..len].iter().zip(&request[4..]).map(|(a, b)| a ^ b).collect();
        let own = match ip {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        assert_eq!(address, own);
    }
    scene.until("/counters/stun_answers", 2).await;
}
