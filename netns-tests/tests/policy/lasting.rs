//! A daemon that is killed leaves the policy enforced, and the next one takes it over.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use netns_tests::wait_until;
use netns_tests::wireguard::{PeerSettings, Tunnel};
use rustix::mount::{UnmountFlags, unmount};

use crate::packets::{udp, v4};
use crate::scene::{
    BRIEFLY, POLICY, PolicyFile, SOON, Scene, dropped, listen, nearwire, reach, status,
};
use dataplane_common::DropReason;

/// A directory for pins, which the daemon makes a BPF file system.
struct PinDirectory(PathBuf);

impl PinDirectory {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("nearwire-pins-{name}-{}", std::process::id())))
    }

    /// The interfaces whose policies are pinned.
    fn entries(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        // The kernel puts files of its own beside them.
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        // With what is pinned there. Not mounted is as good.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

/// As [`Scene::tunnels`], with the server's policy pinned.
fn pinned<'s>(
    scene: &'s Scene,
    policy: &PolicyFile,
    pins: &PinDirectory,
) -> Result<(Tunnel<'s>, Tunnel<'s>)> {
    scene.tunnels_with(policy, |server| server.arg("--pin-dir").arg(&pins.0))
}

/// Kills the daemon and starts the next, which gets the keys and the peer that it had.
fn next_daemon(server: &mut Tunnel<'_>, client: &Tunnel<'_>) -> Result<()> {
    server.start_again()?;
    server.set_key_and_port()?;
    // It greets at once: the client does not know that its session is gone.
    let any = PeerSettings {
        allowed_ips: "0.0.0.0/0,::/0",
        endpoint: Some("10.0.0.1".parse()?),
        keepalive: 1,
        ..PeerSettings::default()
    };
    server.add_peer(client, &any)?;
    server.wait_for_peer(client, SOON, "a handshake", |peer| peer.latest_handshake > 0)?;
    Ok(())
}

#[test]
fn a_killed_daemon_leaves_policy_and_flows_to_the_next() -> Result<()> {
    let scene = Scene::new("killed")?;
    let policy = PolicyFile::new("killed", POLICY)?;
    let pins = PinDirectory::new("killed");
    let (client, mut server) = pinned(&scene, &policy, &pins)?;
    let shown = status(&server)?["pinned"].as_str().context("not pinned")?.to_owned();
    assert!(Path::new(&shown).is_dir(), "{shown}");

    let listener = listen(&scene.server, "10.9.0.2:80")?;
    let address = listener.local_addr()?;
    let mut live = scene.client.enter(|| TcpStream::connect_timeout(&address, SOON))??;
    let (mut accepted, _) = listener.accept()?;
    live.write_all(b"before")?;
    let mut buffer = [0; 6];
    accepted.read_exact(&mut buffer)?;
    let sockets = [53, 54].map(|port| {
        let socket = scene.server.enter(|| UdpSocket::bind(("10.9.0.2", port)));
        socket.expect("a thread in the namespace").expect("a free port")
    });
    for socket in &sockets {
        socket.set_read_timeout(Some(BRIEFLY))?;
    }

    server.kill()?;
    // Nobody serves the tunnel. Who opens it in the daemon's place meets the policy.
    let mut intruder = scene.server.open_tun(server.name())?;
    intruder.write_all(&v4(17, 0, &udp(54)))?;
    intruder.write_all(&v4(17, 0, &udp(53)))?;
    let mut datagram = [0; 16];
    assert!(sockets[0].recv(&mut datagram).is_ok(), "an allowed one");
    assert!(sockets[1].recv(&mut datagram).is_err(), "a forbidden one");
    drop(intruder);

    next_daemon(&mut server, &client)?;
    server.process().wait_for_line("taken over", SOON)?;
    let taken = status(&server)?;
    assert_eq!(taken["generation"], 2);
    assert!(dropped(&server, DropReason::PolicyNoRule) >= 1, "counters go on: {taken}");
    // No new connection: its flow is known, and the other end never noticed.
    live.write_all(b"behind")?;
    accepted.set_read_timeout(Some(SOON))?;
    accepted.read_exact(&mut buffer)?;
    assert_eq!(&buffer, b"behind");
    accepted.write_all(b"answer")?;
    live.read_exact(&mut buffer)?;
    assert_eq!(&buffer, b"answer");
    let _other = listen(&scene.server, "10.9.0.2:81")?;
    assert!(!reach(&scene.client, "10.9.0.2:81"));

    // Ending by itself, a daemon takes all of it along.
    let name = server.name().to_owned();
    server.process().signal(rustix::process::Signal::TERM)?;
    server.wait(SOON)?;
    assert!(!scene.server.output(["ip", "link", "show", &name])?.status.success());
    wait_until(SOON, "no pins", || pins.entries().is_empty());
    Ok(())
}

#[test]
fn another_policy_may_follow_a_killed_daemon() -> Result<()> {
    let scene = Scene::new("follow")?;
    let policy = PolicyFile::new("follow", POLICY)?;
    let pins = PinDirectory::new("follow");
    let (client, mut server) = pinned(&scene, &policy, &pins)?;
    let _listeners = [80, 81]
        .map(|port| listen(&scene.server, &format!("10.9.0.2:{port}")).expect("a free port"));
    assert!(reach(&scene.client, "10.9.0.2:80") && !reach(&scene.client, "10.9.0.2:81"));
    server.kill()?;

    // What is refused leaves everything as it was.
    policy.write("{ \"acls\": 1 }")?;
    let words = ["wg", server.name(), "--policy", policy.path(), "--pin-dir"];
    let directory = pins.0.to_str().context("not UTF-8")?;
    let refused = nearwire(&scene.server, &[&words[..], &[directory]].concat())?;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
    assert!(!pins.entries().is_empty());
    // Nor is the interface anybody's who brings no policy.
    let plain = nearwire(&scene.server, &["wg", server.name(), "--pin-dir", directory])?;
    assert_eq!(plain.status.code(), Some(1), "{}", plain.stdout);
    assert!(plain.stderr.contains("--policy"), "{}", plain.stderr);

    policy.write(&POLICY.replace("*:80,", "*:81,"))?;
    next_daemon(&mut server, &client)?;
    assert!(!reach(&scene.client, "10.9.0.2:80") && reach(&scene.client, "10.9.0.2:81"));
    assert_eq!(status(&server)?["generation"], 2);
    Ok(())
}

#[test]
fn where_nothing_can_be_pinned_the_policy_ends_with_the_daemon() -> Result<()> {
    let scene = Scene::new("unpinned")?;
    let policy = PolicyFile::new("unpinned", POLICY)?;
    let (_client, server) =
        scene.tunnels_with(&policy, |server| server.arg("--pin-dir").arg("/proc/nowhere"))?;
    server.process().wait_for_line("not pinned", SOON)?;
    assert!(status(&server)?["pinned"].is_null());
    assert!(!reach(&scene.client, "10.9.0.2:81"));
    let name = server.name().to_owned();
    server.process().signal(rustix::process::Signal::KILL)?;
    wait_until(SOON, "no interface", || {
        scene
            .server
            .output(["ip", "link", "show", &name])
            .is_ok_and(|shown| !shown.status.success())
    });
    Ok(())
}
