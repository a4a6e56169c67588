//! A TUN interface whose packets go through a node: 10.9.0.N is node N.

use std::fs::File;
use std::io::{Read as _, Write as _};

use anyhow::Result;
use netns_tests::{Host, Tun};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::node::{Node, Sender};
use super::relays::node_key;

/// How often the reader looks whether the node is still there.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A node with its interface, until it is dropped.
pub(crate) struct Tunnel {
    pub(crate) node: Node,
    back: tokio::task::JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.back.abort();
    }
}

impl Tunnel {
    /// Gives a node an interface in its host. Must be called within a runtime.
    pub(crate) fn new(host: &Host, number: u8, mut node: Node) -> Result<Self> {
        let tun = Tun::open(host, &format!("10.9.0.{number}/24"))?;
        // So that a packet fits a datagram between relays.
        host.ip(["link", "set", tun.name(), "mtu", "1280"])?;
        let mut file = tun.into_file();
        let (_, nobody) = tokio::sync::mpsc::unbounded_channel();
        let mut received = std::mem::replace(&mut node.received, nobody);
        let (reader, sender) = (file.try_clone()?, node.sender.clone());
        std::thread::spawn(move || read(reader, &sender));
        let back = tokio::spawn(async move {
            while let Some((_, packet)) = received.recv().await {
                // A packet that the host does not take is lost.
                let _ = file.write(&packet);
            }
        });
        Ok(Self { node, back })
    }
}

/// Hands packets of the host to the node, until that has ended.
fn read(mut file: File, sender: &Sender) {
    let mut packet = [0; 2048];
    while !sender.is_closed() {
        // Woken for nothing, it looks again.
        let _ = poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&LOOK));
        while let Ok(len) = file.read(&mut packet) {
            // Only IPv4 of this network; the host also says things of IPv6.
            if len >= 20 && packet[0] >> 4 == 4 && packet[16..19] == [10, 9, 0] {
                let _ = sender.send((node_key(packet[19]), packet[..len].to_vec()));
            }
        }
    }
}
