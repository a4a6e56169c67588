//! The port that all shards share: moved, marked, refused, closed and opened.

use std::net::UdpSocket;

use anyhow::Result;
use netns_tests::wireguard::{INITIATION_INTERVAL, Implementation, Tunnel};
use netns_tests::{Host, answers, wait_until};
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketType, bind, socket};

use crate::star::{Hosts, OTHERS, Star, inside, shards};
use crate::{MOMENT, SOON};

impl Star<'_> {
    /// How many of the others answer.
    fn answering(&self) -> Result<usize> {
        let hub = self.hub.host();
        let answers = (0..OTHERS).map(|number| answers(hub, &inside(number)[0], MOMENT));
        Ok(answers.collect::<Result<Vec<_>>>()?.into_iter().filter(|answers| *answers).count())
    }
}

/// Whether a new socket can have the port in `host`.
fn is_free(host: &Host, port: u16) -> bool {
    host.enter(|| UdpSocket::bind(("0.0.0.0", port))).is_ok_and(|bound| bound.is_ok())
}

#[test]
fn the_port_moves_and_everybody_follows() -> Result<()> {
    let hosts = Hosts::new("moves")?;
    let star = hosts.star("4")?;
    star.ping_all()?;
    let handshakes = star.handshakes()?;
    let mut old = star.hub.port();
    for port in [4001, 4002, 0, 4003] {
        star.hub.set(["listen-port", &port.to_string()])?;
        let shown = star.hub.show()?.listen_port;
        assert!(if port == 0 { shown > 1023 } else { shown == port }, "{shown} for {port}");
        assert!(is_free(&hosts.hub, old) && !is_free(&hosts.hub, shown), "{old} {shown}");
        star.ping_all_from_the_hub()?;
        for other in &star.others {
            let seen = other.peer(&star.hub)?.endpoint.map(|endpoint| endpoint.port());
            assert_eq!(seen, Some(shown));
        }
        star.ping_all()?;
        star.transfer_all(1 << 20)?;
        old = shown;
    }
    assert_eq!(star.handshakes()?, handshakes);
    Ok(())
}

#[test]
fn a_port_of_another_is_refused_and_nothing_changes() -> Result<()> {
    let hosts = Hosts::new("taken")?;
    let star = hosts.star("4")?;
    star.ping_all()?;
    let before = star.hub.show()?;
    let plain = hosts.hub.enter(|| UdpSocket::bind("0.0.0.0:4711"))??;
    // One who would share: with others of its kind, which a shard's sockets must not become.
    let sharing = hosts.hub.enter(|| -> Result<_> {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        set_socket_reuseport(&socket, true)?;
        bind(&socket, &"0.0.0.0:4712".parse::<std::net::SocketAddr>()?)?;
        Ok(socket)
    })??;
    for _ in 0..2 {
        for port in ["4711", "4712"] {
            let refused = star.hub.set(["listen-port", port, "fwmark", "9"]);
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("Address already in use"), "{refused}");
            let after = star.hub.show()?;
            assert_eq!((after.listen_port, after.fwmark), (before.listen_port, before.fwmark));
        }
        star.ping_all()?;
        star.transfer_all(256 << 10)?;
        // Once more with what is left of a group.
        shards(&star.hub, Some(1))?;
    }
    drop((plain, sharing));
    star.hub.set(["listen-port", "4711"])
}

#[test]
fn two_daemons_do_not_share_a_port() -> Result<()> {
    let hosts = Hosts::new("two")?;
    let star = hosts.star("4")?;
    star.ping_all()?;
    let builder = Tunnel::builder(Implementation::Nearwire).arg("--shards").arg("4");
    let second = builder.start(&hosts.hub)?;
    second.configure(&[])?;
    let port = star.hub.port().to_string();
    for count in [4, 1, 2] {
        shards(&star.hub, Some(count))?;
        let refused = second.set(["listen-port", &port]).unwrap_err().to_string();
        assert!(refused.contains("Address already in use"), "{refused}");
        assert_eq!(second.show()?.listen_port, second.port());
        // Nothing of the first one's goes astray.
        star.ping_all()?;
    }
    // Down, it may be told so; up, it cannot have it, and the first one does not suffer.
    second.down()?;
    wait_until(SOON, "the second's port is closed", || is_free(&hosts.hub, second.port()));
    second.set(["listen-port", &port])?;
    second.up()?;
    second.process().wait_for_line("cannot listen", SOON)?;
    star.ping_all()?;
    star.transfer_all(256 << 10)
}

#[test]
fn every_shards_datagrams_are_marked() -> Result<()> {
    let hosts = Hosts::new("marks")?;
    let star = hosts.star("4")?;
    // What is marked goes nowhere.
    hosts.hub.ip(["rule", "add", "fwmark", "0x2a", "lookup", "77"])?;
    hosts.hub.ip(["route", "add", "blackhole", "default", "table", "77"])?;
    star.ping_all()?;
    star.hub.set(["fwmark", "0x2a"])?;
    assert_eq!(star.answering()?, 0);
    star.hub.set(["fwmark", "0x2b"])?;
    assert_eq!(star.answering()?, OTHERS);
    // Sockets opened later are marked as well: for a port, for more shards, for coming up.
    star.hub.set(["fwmark", "0x2a", "listen-port", "4001"])?;
    assert_eq!(star.answering()?, 0);
    star.hub.set(["fwmark", "off"])?;
    assert_eq!(star.answering()?, OTHERS);
    shards(&star.hub, Some(1))?;
    star.hub.set(["fwmark", "0x2a"])?;
    shards(&star.hub, Some(4))?;
    assert_eq!(star.answering()?, 0);
    star.hub.set(["fwmark", "off"])?;
    star.ping_all()
}

#[test]
fn down_and_up_with_several_shards() -> Result<()> {
    let hosts = Hosts::new("updown")?;
    let star = hosts.star("4")?;
    star.ping_all()?;
    let port = star.hub.port();
    // The last time, the number changes while it is down.
    for count in [4, 4, 2, 3] {
        star.hub.down()?;
        wait_until(SOON, "the port is free while down", || is_free(&hosts.hub, port));
        assert_eq!(shards(&star.hub, Some(count))?.count, u64::from(count));
        assert!(is_free(&hosts.hub, port), "closed with {count} shards");
        std::thread::sleep(INITIATION_INTERVAL);
        star.hub.up()?;
        // The very first packets: they come before the daemon has heard that it is up.
        star.ping_all_from_the_hub()?;
        star.ping_all()?;
        assert_eq!(star.hub.show()?.listen_port, port);
        let before = star.handed_over()?;
        star.transfer_all(1 << 20)?;
        let more = star.handed_over()? - before;
        assert!(more <= u64::try_from(OTHERS)?, "{more} with {count}");
    }
    Ok(())
}
