//! A TUN interface whose packets go through a node: 10.9.0.N is node N.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use anyhow::Result;
use netns_tests::{Host, Tun};
use tokio::io::unix::AsyncFd;

use super::node::Node;
use super::relays::node_key;

/// A node with its interface, until it is dropped.
pub(crate) struct Tunnel {
    pub(crate) node: Node,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Tunnel {
    /// Gives a node an interface in its host. Must be called within a runtime.
    pub(crate) fn new(host: &Host, number: u8, mut node: Node) -> Result<Self> {
        let tun = Tun::open(host, &format!("10.9.0.{number}/24"))?;
        // So that a packet fits a datagram between relays.
        host.ip(["link", "set", tun.name(), "mtu", "1280"])?;
        let file = Arc::new(AsyncFd::register(tun.into_file())?);
        let (_, nobody) = tokio::sync::mpsc::unbounded_channel();
        let mut received = std::mem::replace(&mut node.received, nobody);
        let (reader, sender) = (file.clone(), node.sender.clone());
        let out = tokio::spawn(async move {
            let mut packet = [0; 2048];
            while let Ok(len) = read(&reader, &mut packet).await {
                // Only IPv4 of this network; the host also says things of IPv6.
                if len >= 20 && packet[0] >> 4 == 4 && packet[16..19] == [10, 9, 0] {
                    let _ = sender.send((node_key(packet[19]), packet[..len].to_vec()));
                }
            }
        });
        let back = tokio::spawn(async move {
            while let Some((_, packet)) = received.recv().await {
                // A packet that the host does not take is lost.
                let _ = file.get_ref().write(&packet);
            }
        });
        Ok(Self { node, tasks: [out, back] })
    }
}

async fn read(file: &AsyncFd<File>, packet: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = file.readable().await?;
        if let Ok(read) = ready.try_io(|file| file.get_ref().read(packet)) {
            return read;
        }
    }
}
