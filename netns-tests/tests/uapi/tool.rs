//! `wg`, subcommand by subcommand.

use anyhow::Result;
use netns_tests::wireguard::{Implementation, KeyFile, KeyPair, PeerStatus, Tunnel, preshared_key};
use netns_tests::{Host, Lab};

use crate::hex;

fn nearwire(host: &Host) -> Result<Tunnel<'_>> {
    Tunnel::start(host, Implementation::Nearwire)
}

/// `wg SUBCOMMAND INTERFACE` with a configuration file of this text.
fn wg_file(tunnel: &Tunnel<'_>, subcommand: &str, text: &str) -> Result<()> {
    let file = KeyFile::new(text)?;
    tunnel.host().run(["wg", subcommand, tunnel.name(), &file.path()])?;
    Ok(())
}

fn peer_section(key: &str, network: &str) -> String {
    format!("[Peer]\nPublicKey = {key}\nAllowedIPs = {network}\n")
}

fn networks(tunnel: &Tunnel<'_>, key: &str) -> Result<Vec<String>> {
    Ok(tunnel.show()?.peer(key)?.allowed_ips.clone())
}

#[test]
fn all_that_wg_sets_it_shows() -> Result<()> {
    let lab = Lab::new("show")?;
    let host = lab.host("h")?;
    let tunnel = nearwire(&host)?;
    let (peer, psk) = (KeyPair::generate()?.public, preshared_key()?);
    let psk_file = KeyFile::new(&psk)?;
    tunnel.set_private_key(&tunnel.keys().private)?;
    tunnel.set(["listen-port", "51820", "fwmark", "0xbeef"])?;
    tunnel.set([
        "peer",
        &peer,
        "preshared-key",
        &psk_file.path(),
        "endpoint",
        "[fd00::9]:4242",
        "persistent-keepalive",
        "25",
        "allowed-ips",
        "10.1.2.3/16,fd01::/64,10.7.0.1",
    ])?;

    let device = tunnel.show()?;
    assert_eq!(device.private_key.as_ref(), Some(&tunnel.keys().private));
    assert_eq!(device.public_key.as_deref(), Some(tunnel.public_key()));
    assert_eq!((device.listen_port, device.fwmark), (51820, 0xbeef));
    let expected = PeerStatus {
        public_key: peer.clone(),
        preshared_key: Some(psk.clone()),
        endpoint: "[fd00::9]:4242".parse().ok(),
        // Host bits gone, as in the kernel.
        allowed_ips: ["10.1.0.0/16", "10.7.0.1/32", "fd01::/64"].map(str::to_owned).to_vec(),
        latest_handshake: 0,
        rx: 0,
        tx: 0,
        keepalive: 25,
    };
    assert_eq!(device.peers, [expected]);

    let shown = host.run(["wg", "show", tunnel.name()])?.stdout;
    for part in ["listening port: 51820", "fwmark: 0xbeef", "(hidden)", "every 25 seconds"] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    let interfaces = host.run(["wg", "show", "interfaces"])?.stdout;
    assert!(interfaces.split_whitespace().any(|name| name == tunnel.name()), "{interfaces}");
    Ok(())
}

#[test]
fn what_showconf_writes_setconf_reads() -> Result<()> {
    let lab = Lab::new("conf")?;
    let (one, two) = (lab.host("one")?, lab.host("two")?);
    let (from, to) = (nearwire(&one)?, nearwire(&two)?);
    from.set_private_key(&from.keys().private)?;
    from.set(["listen-port", "4711", "fwmark", "7"])?;
    for number in 1..=50 {
        let key = KeyPair::generate()?.public;
        let networks = format!("10.0.{number}.0/24,fd00:{number}::/32");
        from.set(["peer", &key, "allowed-ips", &networks, "endpoint", "192.0.2.1:9"])?;
    }
    let written = one.run(["wg", "showconf", from.name()])?.stdout;
    wg_file(&to, "setconf", &written)?;
    let [mut ours, mut theirs] = [from.show()?, to.show()?];
    for device in [&mut ours, &mut theirs] {
        device.peers.sort_by(|a, b| a.public_key.cmp(&b.public_key));
    }
    assert_eq!(ours.peers.len(), 50);
    assert_eq!(ours, theirs);
    Ok(())
}

#[test]
fn setconf_replaces_addconf_adds_syncconf_makes_equal() -> Result<()> {
    let lab = Lab::new("conf")?;
    let host = lab.host("h")?;
    let tunnel = nearwire(&host)?;
    let keys = [KeyPair::generate()?, KeyPair::generate()?, KeyPair::generate()?];
    let [a, b, c] = keys.map(|key| key.public);
    let interface =
        format!("[Interface]\nPrivateKey = {}\nListenPort = 99\n", tunnel.keys().private);
    let known = || -> Result<Vec<String>> {
        let mut known: Vec<String> =
            tunnel.show()?.peers.into_iter().map(|peer| peer.public_key).collect();
        known.sort();
        Ok(known)
    };
    let sorted = |mut keys: Vec<String>| {
        keys.sort();
        keys
    };

    wg_file(&tunnel, "setconf", &(interface.clone() + &peer_section(&a, "10.1.0.0/16")))?;
    assert_eq!(known()?, sorted(vec![a.clone()]));
    wg_file(&tunnel, "addconf", &peer_section(&b, "10.2.0.0/16"))?;
    assert_eq!(known()?, sorted(vec![a.clone(), b.clone()]));
    assert_eq!(tunnel.show()?.listen_port, 99);
    let equal =
        interface.clone() + &peer_section(&b, "10.9.0.0/16") + &peer_section(&c, "10.3.0.0/16");
    wg_file(&tunnel, "syncconf", &equal)?;
    assert_eq!(known()?, sorted(vec![b.clone(), c.clone()]));
    assert_eq!(networks(&tunnel, &b)?, ["10.9.0.0/16"]);
    tunnel.set(["peer", &b, "remove"])?;
    assert_eq!(known()?, [c]);
    wg_file(&tunnel, "setconf", &interface)?;
    assert_eq!(known()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_preshared_key_and_a_keepalive_come_and_go() -> Result<()> {
    let lab = Lab::new("psk")?;
    let host = lab.host("h")?;
    let tunnel = nearwire(&host)?;
    let (peer, psk) = (KeyPair::generate()?.public, preshared_key()?);
    let (file, nothing) = (KeyFile::new(&psk)?, KeyFile::new("")?);
    tunnel.set(["peer", &peer, "preshared-key", &file.path(), "persistent-keepalive", "9"])?;
    let status = tunnel.show()?.peers.remove(0);
    assert_eq!((status.preshared_key, status.keepalive), (Some(psk), 9));
    tunnel.set(["peer", &peer, "preshared-key", &nothing.path(), "persistent-keepalive", "off"])?;
    let status = tunnel.show()?.peers.remove(0);
    assert_eq!((status.preshared_key, status.keepalive), (None, 0));
    // The private key too.
    tunnel.set_private_key(&tunnel.keys().private)?;
    tunnel.set_private_key("")?;
    assert_eq!(tunnel.show()?.public_key, None);
    Ok(())
}

#[test]
fn a_network_belongs_to_the_peer_that_got_it_last() -> Result<()> {
    let lab = Lab::new("move")?;
    let host = lab.host("h")?;
    let tunnel = nearwire(&host)?;
    let (a, b) = (KeyPair::generate()?.public, KeyPair::generate()?.public);
    tunnel.set(["peer", &a, "allowed-ips", "10.1.0.0/16,10.2.0.0/16,fd01::/64"])?;
    tunnel.set(["peer", &b, "allowed-ips", "10.2.0.0/16,10.2.3.0/24"])?;
    assert_eq!(networks(&tunnel, &a)?, ["10.1.0.0/16", "fd01::/64"]);
    assert_eq!(networks(&tunnel, &b)?, ["10.2.0.0/16", "10.2.3.0/24"]);
    // `wg set` always replaces; only the raw protocol adds and takes.
    tunnel.set(["peer", &b, "allowed-ips", "10.4.0.0/16"])?;
    assert_eq!(networks(&tunnel, &b)?, ["10.4.0.0/16"]);
    let change = |key: &str, lines: &str| {
        tunnel.request(&format!("set=1\npublic_key={}\n{lines}", hex(key)))
    };
    assert_eq!(change(&b, "allowed_ip=fd04::/64\nallowed_ip=10.4.0.7/32")?, "errno=0\n\n");
    assert_eq!(networks(&tunnel, &b)?, ["10.4.0.0/16", "10.4.0.7/32", "fd04::/64"]);
    assert_eq!(change(&b, "allowed_ip=-10.4.0.0/16\nallowed_ip=-fd04::/64")?, "errno=0\n\n");
    assert_eq!(networks(&tunnel, &b)?, ["10.4.0.7/32"]);
    // What another has cannot be taken from it so.
    assert_eq!(change(&b, "allowed_ip=-10.1.0.0/16")?, "errno=0\n\n");
    assert_eq!(networks(&tunnel, &a)?, ["10.1.0.0/16", "fd01::/64"]);
    Ok(())
}
