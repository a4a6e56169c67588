//! A userspace WireGuard here, the kernel's own in a guest, a TAP between them.
//!
//! Two tunnels stand side by side. In the first we know where the kernel is, and open the
//! handshake. In the second only the kernel knows where we are, and opens it.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::guest::{Guest, Spec};
use super::inside::quoted;
use super::stream;
use crate::process::{self, Owned};

/// The TAP's name in this pass's own network namespace.
pub(crate) const TAP: &str = "tap0";

const ECHO_PORT: u16 = 7;
/// Each way, each address family, each tunnel.
const BYTES: usize = 4 << 20;
const SETUP: Duration = Duration::from_secs(30);

/// The underlay: our end, the guest's end.
const OUTER: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const OUTER6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

/// One tunnel between us and the guest's kernel.
struct Tunnel {
    /// Names the interface at both ends, ports and addresses.
    number: u8,
    what: &'static str,
    we_initiate: bool,
    ours: Keys,
    theirs: Keys,
}

struct Keys {
    private: String,
    public: String,
}

impl Tunnel {
    fn interface(&self) -> String {
        format!("wg{}", self.number)
    }

    fn port(&self) -> u16 {
        51820 + u16::from(self.number)
    }

    fn v4(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.number, host)
    }

    fn v6(&self, host: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x99, 0, self.number.into(), 0, 0, 0, host.into())
    }

    /// One side's configuration file. Host 1 is us, host 2 is the guest.
    fn config(&self, host: u8) -> String {
        let (own, peer, other) = match host {
            1 => (&self.ours, &self.theirs, 2),
            _ => (&self.theirs, &self.ours, 1),
        };
        let mut config = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {}\n[Peer]\nPublicKey = {}\n\
             AllowedIPs = {}/32, {}/128\n",
            own.private,
            self.port(),
            peer.public,
            self.v4(other),
            self.v6(other),
        );
        if self.we_initiate == (host == 1) {
            // One tunnel over each address family.
            let outer =
                if self.we_initiate { OUTER[1].to_owned() } else { format!("[{}]", OUTER6[0]) };
            config += &format!("Endpoint = {outer}:{}\nPersistentKeepalive = 1\n", self.port());
        }
        config
    }
}

/// Runs both tunnels through `subject` and moves packets over them.
pub(crate) fn run(spec: Spec, subject: &Path) -> Result<()> {
    let tunnels = [
        Tunnel {
            number: 0,
            what: "we open the handshake",
            we_initiate: true,
            ours: keys()?,
            theirs: keys()?,
        },
        Tunnel {
            number: 1,
            what: "the kernel opens the handshake",
            we_initiate: false,
            ours: keys()?,
            theirs: keys()?,
        },
    ];
    // Sockets in a directory of this pass alone; mounts here are private.
    process::run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]))?;
    underlay()?;
    let mut daemons = Vec::new();
    for tunnel in &tunnels {
        daemons.push(our_end(tunnel, subject, &spec)?);
    }
    let mut guest = Guest::start(&spec, &their_ends(&tunnels)?)?;
    for tunnel in &tunnels {
        let through = through(tunnel, &mut guest);
        if through.is_err() {
            guest.show()?;
            let _ = process::run(&mut Command::new("wg"));
        }
        through.with_context(|| format!("tunnel where {}", tunnel.what))?;
    }
    for daemon in &mut daemons {
        if let Some(status) = daemon.ended()? {
            bail!("{} ended by itself: {status}", subject.display());
        }
    }
    Ok(())
}

fn underlay() -> Result<()> {
    let script = [
        "link set lo up",
        &format!("tuntap add {TAP} mode tap"),
        &format!("addr add {}/24 dev {TAP}", OUTER[0]),
        &format!("addr add {}/64 dev {TAP} nodad", OUTER6[0]),
        &format!("link set {TAP} up"),
    ];
    script.iter().try_for_each(|line| ip(line))
}

fn ip(line: &str) -> Result<()> {
    process::run(Command::new("ip").args(line.split(' ')))
}

/// Starts the userspace WireGuard for one tunnel and configures it.
fn our_end(tunnel: &Tunnel, subject: &Path, spec: &Spec) -> Result<Owned> {
    let interface = tunnel.interface();
    let mut daemon = Command::new(subject);
    if subject.ends_with("boringtun-cli") {
        daemon.args(["--foreground", "--disable-drop-privileges", &interface]);
    } else {
        daemon.args(["wg", "--foreground", &interface]);
    }
    let mut owned = Owned::spawn(daemon.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let socket = format!("/var/run/wireguard/{interface}.sock");
    process::until(
        SETUP,
        || {
            if let Some(status) = owned.ended()? {
                bail!("`{}` ended at once: {status}", process::line(&daemon));
            }
            Ok(Path::new(&socket).exists().then_some(()))
        },
        || format!("`{}` makes no {socket}", process::line(&daemon)),
    )?;
    std::fs::create_dir_all(&spec.scratch).context("making the guest's directory")?;
    let file = spec.scratch.join(format!("{interface}.conf"));
    std::fs::write(&file, tunnel.config(1))
        .with_context(|| format!("writing {}", file.display()))?;
    process::run(Command::new("wg").args(["setconf", &interface]).arg(&file))?;
    ip(&format!("addr add {}/24 dev {interface}", tunnel.v4(1)))?;
    ip(&format!("addr add {}/64 dev {interface} nodad", tunnel.v6(1)))?;
    ip(&format!("link set {interface} up mtu 1420"))?;
    Ok(owned)
}

/// The guest's script: its ends of the tunnels, in its kernel, and an echo.
fn their_ends(tunnels: &[Tunnel]) -> Result<String> {
    let own = std::env::current_exe().context("finding this program")?;
    let own = quoted(own.to_str().context("this program's path is not UTF-8")?);
    let mut script = format!(
        "set -e\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\nmodprobe -a virtio_net wireguard\n\
         for i in 1 2 3 4 5 6 7 8 9 10; do [ -e /sys/class/net/eth0 ] && break; sleep 0.2; done\n\
         ip link set lo up\nip addr add {}/24 dev eth0\nip addr add {}/64 dev eth0 nodad\n\
         ip link set eth0 up\n",
        OUTER[1], OUTER6[1]
    );
    for tunnel in tunnels {
        let interface = tunnel.interface();
        script += &format!(
            "ip link add {interface} type wireguard\n\
             cat > /run/{interface}.conf <<'END'\n{}END\n\
             wg setconf {interface} /run/{interface}.conf\n\
             ip addr add {}/24 dev {interface}\nip addr add {}/64 dev {interface} nodad\n\
             ip link set {interface} up mtu 1420\n",
            tunnel.config(2),
            tunnel.v4(2),
            tunnel.v6(2),
        );
    }
    script += &format!("exec {own} kernels-inside echo {ECHO_PORT}\n");
    Ok(script)
}

/// Proves one tunnel: a handshake, pings of several sizes, bytes both ways, on both families.
fn through(tunnel: &Tunnel, guest: &mut Guest) -> Result<()> {
    let interface = tunnel.interface();
    process::until(
        SETUP,
        || {
            guest.still_runs()?;
            let mut wg = Command::new("wg");
            let shown = process::stdout(wg.args(["show", &interface, "latest-handshakes"]))?;
            let at = shown.split_whitespace().nth(1).unwrap_or("0");
            Ok((at != "0").then_some(()))
        },
        || format!("{interface}: no handshake"),
    )?;
    for to in [IpAddr::V4(tunnel.v4(2)), IpAddr::V6(tunnel.v6(2))] {
        // The largest goes in two fragments through the tunnel.
        for size in ["56", "1300", "2000"] {
            let mut ping = Command::new("ping");
            ping.args(["-n", "-q", "-c", "3", "-i", "0.2", "-w", "20", "-s", size]);
            process::quietly(ping.arg(to.to_string()))?;
        }
        let took = stream::round_trip(to, ECHO_PORT, BYTES)?;
        guest.still_runs()?;
        println!(
            "    {}: {to}: pings, and {} MiB there and back in {:.1} s",
            tunnel.what,
            BYTES >> 20,
            took.as_secs_f64()
        );
    }
    Ok(())
}

fn keys() -> Result<Keys> {
    let private = process::stdout(Command::new("wg").arg("genkey"))?.trim().to_owned();
    let mut pubkey = Command::new("wg");
    pubkey.arg("pubkey").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pubkey.spawn().context("starting `wg pubkey`")?;
    let mut pipe = child.stdin.take().context("`wg pubkey` without the pipe it was given")?;
    pipe.write_all(private.as_bytes()).context("writing to `wg pubkey`")?;
    drop(pipe);
    let output = child.wait_with_output().context("waiting for `wg pubkey`")?;
    let public = String::from_utf8(output.stdout).context("what `wg pubkey` printed")?;
    if !output.status.success() {
        bail!("`wg pubkey` failed: {}", output.status);
    }
    Ok(Keys { private, public: public.trim().to_owned() })
}
