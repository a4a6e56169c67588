//! Sockets with IP options and extension headers, whose super-packets carry them in every piece.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, ensure};
use netns_tests::wireguard::{INNER_B, Implementation, wired_hosts};
use netns_tests::{Family, Host, Lab, set_socket_option, udp_socket};

use crate::packet::{TCP, UDP, payload};
use crate::{SOON, talking};

/// Nothing, three times, and the end.
const NOTHING: [u8; 4] = [1, 1, 1, 0];
/// A destination options header with four bytes of padding; the kernel fills in its first.
const PADDING: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];
const DESTINATION: u8 = 60;

/// Gives a socket options that go into every packet that it sends.
fn decorate(socket: impl std::os::fd::AsFd, far: IpAddr) -> Result<()> {
    let (level, name, value) = match far {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_OPTIONS, &NOTHING[..]),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &PADDING[..]),
    };
    set_socket_option(socket, level, name, value).with_context(|| format!("options to {far}"))
}

fn is_decorated(packet: &[u8], protocol: u8) -> bool {
    match packet[0] {
        0x46 => packet[9] == protocol && packet[20..24] == NOTHING,
        first if first >> 4 == 6 => {
            packet[6] == DESTINATION && packet[40] == protocol && packet[42..48] == PADDING[2..]
        }
        _ => false,
    }
}

/// What a stream carries that is all in decorated packets.
fn stream([a, b]: &[Host; 2], far: IpAddr) -> Result<()> {
    let listener = b.enter(|| TcpListener::bind((far, 0)))??;
    let destination = listener.local_addr()?;
    let mut sender = a.enter(|| TcpStream::connect_timeout(&destination, SOON))??;
    let (mut receiver, _) = listener.accept()?;
    decorate(&sender, far)?;
    sender.set_write_timeout(Some(SOON))?;
    receiver.set_read_timeout(Some(SOON))?;
    let sent = payload(4 << 20);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| sender.write_all(&sent));
        let mut received = vec![0; sent.len()];
        receiver.read_exact(&mut received).context("receiving")?;
        writing.join().expect("no panic")?;
        ensure!(received == sent, "other bytes arrived");
        Ok(())
    })
}

fn datagrams([a, b]: &[Host; 2], far: IpAddr) -> Result<()> {
    let receiver = udp_socket(b, SocketAddr::new(far, 0))?;
    receiver.set_read_timeout(Some(SOON))?;
    let any: SocketAddr = if far.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
    let sender = udp_socket(a, any)?;
    decorate(&sender, far)?;
    sender.connect(receiver.local_addr()?)?;
    for segment in [0u16, 1000] {
        set_socket_option(
            &sender,
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            &i32::from(segment).to_ne_bytes(),
        )?;
        // Whole, in pieces, or in fragments.
        let sent = payload(5001);
        sender.send(&sent)?;
        let pieces = if segment == 0 { sent.len() } else { segment.into() };
        let mut buffer = vec![0; sent.len()];
        for piece in sent.chunks(pieces) {
            let len = receiver.recv(&mut buffer)?;
            ensure!(buffer[..len] == *piece, "other bytes arrived");
        }
    }
    Ok(())
}

#[test]
fn sockets_with_options() -> Result<()> {
    for theirs in Implementation::ALL {
        let lab = Lab::new("options")?;
        let hosts = wired_hosts(&lab)?;
        let [_a, b] = talking(&hosts, theirs)?;
        for (far, family) in INNER_B.into_iter().zip([Family::V4, Family::V6]) {
            let far = far.parse()?;
            let what = || format!("{theirs:?}, {far}");
            for (protocol, transfer) in
                [(TCP, stream as fn(&[Host; 2], IpAddr) -> Result<()>), (UDP, datagrams)]
            {
                let mut seen = hosts[1].sniff(b.name(), family)?;
                transfer(&hosts, far).with_context(what)?;
                seen.next(SOON, |packet| is_decorated(packet, protocol)).with_context(what)?;
            }
        }
    }
    Ok(())
}
