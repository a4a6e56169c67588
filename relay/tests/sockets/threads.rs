//! The threads that serve QUIC: each connection has one, and stays with it.

use std::net::SocketAddr;

use nix::libc::{sock_filter, sock_fprog};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::AttachReusePortCbpf;
use proto::relay::Batch;
use relay_client::Session;
use socket2::{Domain, Socket, Type};

use super::client::{Client, Way};
use super::scene::{Scene, holder};

/// By another address datagrams would come to another thread of the relay, if those were told apart by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_follows_its_owner_to_another_address() {
    let scene = Scene::new().await;
    let mut a = Client::new(&scene, Way::Quic, holder(1, 1)).await;
    let mut b = Client::new(&scene, Way::Quic, holder(1, 2)).await;
    for round in 0..8 {
        a.rebind();
        a.send(b.key, &[round; 100], 100).await;
        assert_eq!(b.packets().await, (a.key, vec![round; 100], 100));
        b.send(a.key, &[round; 200], 200).await;
        assert_eq!(a.packets().await, (b.key, vec![round; 200], 200));
    }
    assert_eq!(scene.status("/totals/clients").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_the_admission_is_not_in_the_way_of_what_follows() {
    let scene = Scene::new().await;
    let mut b = Client::new(&scene, Way::Quic, holder(1, 2)).await;
    let batch = |byte| [byte; 100];
    let early = |byte| {
        let bytes = batch(byte);
        let batch = Batch::new(&bytes, 100).expect("a batch");
        Session::datagrams(b.key, &batch, 1200).expect("fits")
    };
    let early = [early(1), early(2)].concat();
    let a = Client::hasty(&scene, Way::Quic, holder(1, 1), &early).await;
    let mut a = a.expect("admitted");
    a.send(b.key, &batch(3), 100).await;
    // It was held until then: the stream says who it is, and datagrams do not wait for streams.
    let mut come = Vec::new();
    while come.last() != Some(&3) {
        come.push(b.packets().await.1[0]);
    }
    assert_eq!(come, [1, 2, 3]);
}

/// What the kernel has joined comes to one thread, whosesoever it is. Here all does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_to_another_thread_is_passed_on() {
    let scene = Scene::new().await;
    let mut b = Client::new(&scene, Way::Quic, holder(1, 100)).await;
    let mut others = Vec::new();
    for node in 0..8 {
        others.push(Client::new(&scene, Way::Quic, holder(1, node)).await);
    }
    let _beside = all_to_the_first(scene.addresses.quic.expect("it takes QUIC"));
    for (node, a) in (0..).zip(&mut others) {
        a.send(b.key, &[node; 100], 100).await;
        assert_eq!(b.packets().await, (a.key, vec![node; 100], 100));
        b.send(a.key, &[node; 200], 200).await;
        assert_eq!(a.packets().await, (b.key, vec![node; 200], 200));
    }
}

/// A socket beside those of the relay, by which the kernel is told to choose the first for everything.
fn all_to_the_first(relay: SocketAddr) -> Socket {
    const RETURN: u16 = 0x06;
    let socket = Socket::new(Domain::for_address(relay), Type::DGRAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("shares the port");
    socket.bind(&relay.into()).expect("shares the port");
    let mut program = [sock_filter { code: RETURN, jt: 0, jf: 0, k: 0 }];
    let program = sock_fprog { len: 1, filter: program.as_mut_ptr() };
    setsockopt(&socket, AttachReusePortCbpf, &program).expect("attaches");
    socket
}
