//! A daemon of a mesh that is killed leaves the interface and its policy, and the next takes them over.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Result;
use netns_tests::{can_connect, wait_until};

use crate::scene::{DIRECT, Scene};

const SOON: Duration = Duration::from_secs(20);
const BRIEFLY: Duration = Duration::from_secs(1);
const POLICY: &str = r#"{ "acls": [
    { "action": "accept", "src": ["*"], "dst": ["*:80,81"], "proto": "tcp" },
] }"#;

#[test]
fn a_killed_daemon_leaves_policy_and_flows_to_the_next() -> Result<()> {
    let Scene { a, mut b, mut hub, lab: _lab } = Scene::new("mesh-killed", DIRECT)?;
    b.stop_daemon();
    b.pin()?;
    b.start_daemon()?;
    hub.policy(POLICY)?;
    let at = |port: u16| -> Result<SocketAddr> { Ok(format!("{}:{port}", b.address()?).parse()?) };
    let [first, second, third] = [at(80)?, at(81)?, at(82)?];
    let listen = |address: SocketAddr| -> Result<TcpListener> {
        Ok(b.host.enter(|| TcpListener::bind(address))??)
    };
    let (listener, _second, _third) = (listen(first)?, listen(second)?, listen(third)?);
    let reaches = |address| can_connect(&a.host, address, BRIEFLY);
    wait_until(SOON, "what is allowed", || reaches(first) && reaches(second) && !reaches(third));
    let mut live = a.host.enter(|| TcpStream::connect_timeout(&first, SOON))??;
    // Before it, those who only looked whether they can.
    let from = live.local_addr()?;
    let mut accepted = loop {
        let (accepted, peer) = listener.accept()?;
        if peer == from {
            break accepted;
        }
    };
    accepted.set_read_timeout(Some(SOON))?;
    live.write_all(b"before")?;
    let mut buffer = [0; 6];
    accepted.read_exact(&mut buffer)?;
    let generation = b.status()?["generation"].as_u64().unwrap_or(0);

    b.kill_daemon()?;
    let interface = b.interface.clone();
    b.host.ip(["link", "show", &interface])?;
    // As if a route and an address had gone from the netmap meanwhile.
    b.host.ip(["address", "add", "100.99.0.9/32", "dev", &interface])?;
    let route = ["route", "add", "10.99.0.0/16", "dev", &interface];
    b.host.ip([&route[..], &["proto", "static", "scope", "global"]].concat())?;
    // Without a control plane, by what was known.
    hub.stop_control();
    b.start_daemon()?;
    b.wait_for("to be up", |status| status["generation"].as_u64() > Some(generation));
    assert!(b.log().contains("taken over"), "{}", b.log());
    // The other end knows no other session before it has something to send.
    live.write_all(b"behind")?;
    accepted.read_exact(&mut buffer)?;
    assert_eq!(&buffer, b"behind");
    assert!(reaches(first) && reaches(second) && !reaches(third));
    let shown = b.host.ip(["address", "show", "dev", &interface])?.stdout;
    assert!(!shown.contains("100.99.0.9") && shown.contains(&first.ip().to_string()), "{shown}");
    let routes = b.host.ip(["route", "show", "dev", &interface])?.stdout;
    assert!(!routes.contains("10.99.0.0"), "{routes}");

    // What is revoked while it is dead is cut when it is back.
    b.kill_daemon()?;
    hub.start_control()?;
    hub.policy(&POLICY.replace("80,81", "81"))?;
    b.start_daemon()?;
    wait_until(SOON, "the new policy", || !reaches(first) && reaches(second));
    live.write_all(b"futile")?;
    accepted.set_read_timeout(Some(BRIEFLY))?;
    assert!(accepted.read_exact(&mut buffer).is_err(), "a flow that is allowed no more");

    b.nearwire(&["down"])?;
    assert!(b.host.ip(["link", "show", &interface]).is_err(), "it took the interface along");
    Ok(())
}
