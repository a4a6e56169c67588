//! The real `wg-quick`, with nearwire as its userspace implementation.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use netns_tests::wireguard::{
    Background, INNER_A, INNER_B, Implementation, KeyPair, OUTER_A, OUTER_B, Tunnel,
    nearwire_program, unique_interface, wired_hosts,
};
use netns_tests::{Host, Lab, answers, ping, tcp_transfer, wait_until};

const SOON: Duration = Duration::from_secs(10);

/// A configuration file `IFNAME.conf`; `wg-quick` names the interface after it.
struct Conf {
    name: String,
    path: PathBuf,
}

impl Conf {
    fn write(interface: &str, peer: &str) -> Result<Self> {
        let name = unique_interface("wq");
        let path = std::env::temp_dir().join(format!("{name}.conf"));
        fs::write(&path, "")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        fs::write(&path, format!("[Interface]\n{interface}\n[Peer]\n{peer}\n"))?;
        Ok(Self { name, path })
    }

    fn command(&self, host: &Host, verb: &str) -> Result<std::process::Command> {
        let program = nearwire_program()?;
        let directory = program.parent().unwrap_or(Path::new("/"));
        let path = std::env::var("PATH").context("no PATH")?;
        let mut command = host.command("wg-quick");
        command
            .arg(verb)
            .arg(&self.path)
            .env("PATH", format!("{}:{path}", directory.display()))
            .env("WG_QUICK_USERSPACE_IMPLEMENTATION", program.file_name().context("no name")?);
        Ok(command)
    }

    fn up(&self, host: &Host) -> Result<Background> {
        let up = Background::start(host, &self.name, &self.command(host, "up")?)?;
        assert_eq!(up.exit_code, 0, "{}", up.output());
        Ok(up)
    }

    fn down(&self, host: &Host, up: &Background) -> Result<()> {
        let daemon = up.daemon()?;
        let output = host.spawn_command(self.command(host, "down")?)?.wait(SOON)?;
        assert!(output.status.success(), "{output:?}");
        assert!(daemon.ends_within(Duration::from_secs(2))?, "the daemon outlives `down`");
        for directory in ["/var/run/wireguard", "/var/run/nearwire"] {
            let socket = format!("{directory}/{}.sock", self.name);
            wait_until(SOON, "no socket left", || !Path::new(&socket).exists());
        }
        Ok(())
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // Nothing more can be done.
        let _ = fs::remove_file(&self.path);
    }
}

/// All that `wg-quick` changes in a host.
fn network_state(host: &Host) -> Result<String> {
    let mut state = String::new();
    for words in [
        &["ip", "-o", "link"][..],
        &["ip", "-4", "rule"],
        &["ip", "-6", "rule"],
        &["ip", "-4", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["nft", "list", "ruleset"],
    ] {
        state += &host.run(words)?.stdout;
    }
    Ok(state)
}

/// The far end, and `[Interface]` and `[Peer]` of the near one.
fn far_end<'h>(
    [a, b]: &'h [Host; 2],
    outer: &str,
    allowed_ips: &str,
) -> Result<(Tunnel<'h>, String, String)> {
    let keys = KeyPair::generate()?;
    let far = Tunnel::start(b, Implementation::Nearwire)?;
    far.configure(&[&format!("{}/24", INNER_B[0]), &format!("{}/64", INNER_B[1])])?;
    far.set(["peer", &keys.public, "allowed-ips", &INNER_A.join(",")])?;
    // Behind the far end: reachable through the tunnel alone.
    b.ip(["address", "add", "192.0.2.1/32", "dev", "lo"])?;
    b.ip(["address", "add", "2001:db8::1/128", "dev", "lo"])?;
    a.ip(["link", "set", "lo", "up"])?;
    let interface =
        format!("PrivateKey = {}\nAddress = {}/24, {}/64", keys.private, INNER_A[0], INNER_A[1]);
    let endpoint = std::net::SocketAddr::from((outer.parse::<std::net::IpAddr>()?, far.port()));
    let peer = format!(
        "PublicKey = {}\nEndpoint = {endpoint}\nAllowedIPs = {allowed_ips}",
        far.public_key()
    );
    Ok((far, interface, peer))
}

#[test]
fn up_and_down_leave_nothing() -> Result<()> {
    let lab = Lab::new("quick")?;
    let hosts = wired_hosts(&lab)?;
    let [a, b] = &hosts;
    let networks = format!("{}, {}, 192.0.2.0/24", INNER_B[0], INNER_B[1]);
    let (_far, interface, peer) = far_end(&hosts, OUTER_B[0], &networks)?;
    let conf = Conf::write(&format!("{interface}\nListenPort = 4242\nMTU = 1400"), &peer)?;
    let before = network_state(a)?;
    // Twice: what is left of the first would stop the second.
    for _ in 0..2 {
        let up = conf.up(a)?;
        for address in [INNER_B[0], INNER_B[1], "192.0.2.1"] {
            ping(a, address)?;
        }
        tcp_transfer(a, b, "192.0.2.1".parse()?, 1 << 20, SOON)?;
        assert!(a.ip(["link", "show", &conf.name])?.stdout.contains("mtu 1400"));
        assert!(a.run(["wg", "show", &conf.name])?.stdout.contains("listening port: 4242"));
        conf.down(a, &up)?;
        assert_eq!(network_state(a)?, before);
    }
    Ok(())
}

#[test]
fn with_the_table_off_no_route_is_made() -> Result<()> {
    let lab = Lab::new("table")?;
    let hosts = wired_hosts(&lab)?;
    let a = &hosts[0];
    let (_far, interface, peer) = far_end(&hosts, OUTER_B[1], "0.0.0.0/0, ::/0")?;
    let conf = Conf::write(&format!("{interface}\nTable = off"), &peer)?;
    let before = network_state(a)?;
    let up = conf.up(a)?;
    // On the interface's own networks.
    ping(a, INNER_B[0])?;
    ping(a, INNER_B[1])?;
    assert!(!answers(a, "192.0.2.1", Duration::from_millis(200))?);
    a.ip(["route", "add", "192.0.2.1/32", "dev", &conf.name])?;
    ping(a, "192.0.2.1")?;
    conf.down(a, &up)?;
    assert_eq!(network_state(a)?, before);
    Ok(())
}

#[test]
fn a_default_route_takes_all_but_the_tunnel_itself() -> Result<()> {
    for (family, outer) in OUTER_B.into_iter().enumerate() {
        let lab = Lab::new("default")?;
        let hosts = wired_hosts(&lab)?;
        let a = &hosts[0];
        // The way that the tunnel must take, and nothing else.
        a.route("default", OUTER_B[0])?;
        a.route("default", OUTER_B[1])?;
        let (far, interface, peer) = far_end(&hosts, outer, "0.0.0.0/0, ::/0")?;
        let conf = Conf::write(&interface, &peer)?;
        let before = network_state(a)?;
        let up = conf.up(a)?;
        for address in ["192.0.2.1", "2001:db8::1"] {
            // Not by the default route that was there before: the far end knows us by our inner
            // address only if the packet came through the tunnel.
            let received = || far.show().map(|device| device.peers[0].rx);
            let before = received()?;
            ping(a, address)?;
            assert!(received()? > before, "{address} was not reached through the tunnel");
            tcp_transfer(a, &hosts[1], address.parse()?, 1 << 20, SOON)?;
        }
        let endpoint = far.show()?.peers[0].endpoint.map(|endpoint| endpoint.ip().to_string());
        assert_eq!(endpoint.as_deref(), Some(OUTER_A[family]));
        let mark = a.run(["wg", "show", &conf.name, "fwmark"])?.stdout;
        assert_ne!(mark.trim(), "off", "wg-quick routes by the mark");
        conf.down(a, &up)?;
        assert_eq!(network_state(a)?, before);
    }
    Ok(())
}

#[test]
fn a_configuration_that_is_wrong_leaves_nothing() -> Result<()> {
    let lab = Lab::new("wrong")?;
    let hosts = wired_hosts(&lab)?;
    let a = &hosts[0];
    let (_far, interface, peer) = far_end(&hosts, OUTER_B[0], "10.9.0.2/32")?;
    let conf = Conf::write(&format!("{interface}\nPostUp = false"), &peer)?;
    let before = network_state(a)?;
    let up = Background::start(a, &conf.name, &conf.command(a, "up")?)?;
    assert_ne!(up.exit_code, 0, "{}", up.output());
    wait_until(SOON, "the host is as it was", || {
        network_state(a).is_ok_and(|state| state == before)
    });
    Ok(())
}
