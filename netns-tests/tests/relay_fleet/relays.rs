//! Three relays and some nodes on one LAN.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use netns_tests::{Host, Lab, Process, wait_until};
use proto::key::PublicKey;
use proto::ticket::{ControlKeyId, NetworkId, SignedTicket, SigningKey, Ticket, UnixSeconds};

/// How long anything may take here that is not measured.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const ADMIN: &str = "127.0.0.1:9443";

/// A relay that runs.
pub(crate) struct Relay {
    pub(crate) host: Host,
    pub(crate) process: Process,
    pub(crate) place: Place,
}

/// Where a node finds a relay.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) address: std::net::SocketAddr,
    /// The SHA-256 of its certificate.
    pub(crate) fingerprint: String,
}

/// Relays of one region; those in the file of the region may be fewer than those that run.
pub(crate) struct Region {
    pub(crate) lab: Lab,
    switch: Host,
    directory: Directory,
    keys: Vec<String>,
    pub(crate) relays: Vec<Relay>,
}

/// Removes what it holds.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is in the directory for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Region {
    /// Starts three relays, all in the region's file.
    pub(crate) fn start(name: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = format!("nearwire-{name}-{}-{count}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(path));
        fs::create_dir_all(&directory.0)?;
        let lab = Lab::new(name)?;
        let switch = lab.switch("switch")?;
        let mut region = Self { lab, switch, directory, keys: Vec::new(), relays: Vec::new() };
        for at in 0..3 {
            region.keys.push(region.make_key(at)?);
        }
        region.write(&[0, 1, 2])?;
        for at in 0..3 {
            let relay = region.start_relay(at)?;
            region.relays.push(relay);
        }
        region.wait_for_links(&[0, 1, 2]);
        Ok(region)
    }

    /// A host on the LAN.
    pub(crate) fn host(&self, name: &str, number: u8) -> Result<Host> {
        let host = self.lab.host(name)?;
        self.lab.link(&host, &self.switch).at_a(&[&format!("10.0.0.{number}/24")]).veth()?;
        Ok(host)
    }

    /// Writes the file of the region, with these relays in it.
    pub(crate) fn write(&self, members: &[usize]) -> Result<()> {
        let mut text = "name = \"lab\"\n".to_owned();
        for &at in members {
            let key = &self.keys[at];
            let (id, last) = (at + 1, at + 1);
            text +=
                &format!("[[relay]]\nid = {id}\nkey = \"{key}\"\nmesh = \"10.0.0.{last}:444\"\n");
        }
        // Nobody reads half a file.
        let new = self.directory.0.join("region.new");
        fs::write(&new, text)?;
        fs::rename(new, self.region_file()).context("writing the region's file")
    }

    /// Waits until each of these relays has a link to each other of them, and to nobody else.
    pub(crate) fn wait_for_links(&self, members: &[usize]) {
        for &at in members {
            wait_until(PATIENCE, &format!("the links of relay {}", at + 1), || {
                let status = self.status(at).unwrap_or_default();
                let links = status.pointer("/mesh/links").and_then(|links| links.as_array());
                links.is_some_and(|links| {
                    links.len() == members.len() - 1 && links.iter().all(|link| link["up"] == true)
                })
            });
        }
    }

    /// What a relay says of itself, by the command that operators have.
    pub(crate) fn status(&self, at: usize) -> Result<serde_json::Value> {
        let words = ["status", "--json", "--admin", ADMIN];
        let output = self.relays[at].host.run(words_of(&words)?)?;
        Ok(serde_json::from_str(&output.stdout)?)
    }

    /// Runs a command of an operator on a relay's host.
    pub(crate) fn operate(&self, at: usize, command: &str) -> Result<String> {
        let words = [command, "--admin", ADMIN];
        Ok(self.relays[at].host.run(words_of(&words)?)?.stdout)
    }

    /// Where the relays are, in this order.
    pub(crate) fn places(&self, order: &[usize]) -> Vec<Place> {
        order.iter().map(|&at| self.relays[at].place.clone()).collect()
    }

    fn start_relay(&self, at: usize) -> Result<Relay> {
        let last = u8::try_from(at + 1)?;
        let host = self.host(&format!("relay{last}"), last)?;
        let address = format!("10.0.0.{last}:443");
        let key = BASE64_STANDARD.encode(control_key().verifying_key().0);
        let mut command = host.command(program()?);
        command.args(["--quic", &address, "--tls", &address, "--admin", ADMIN]);
        // A veth pair gives what XDP sends only to a far end that has a program too.
        command.args(["--lanes", &format!("10.0.0.{last}:3478"), "--xdp", "off"]);
        command.args(["--mesh", &format!("10.0.0.{last}:444")]);
        command.arg("--region").arg(self.region_file());
        command.arg("--relay-key").arg(self.key_file(at));
        command.args(["--control-keys", &format!("1:{key}"), "--self-signed", "relay.test"]);
        command.args(["--drain-time", "2000"]).env("NO_COLOR", "1");
        let process = host.spawn_command(command)?;
        let line = process.wait_for_line("certificate_sha256", PATIENCE)?;
        let (_, digest) = line.split_once("certificate_sha256=").context("a fingerprint")?;
        let fingerprint: String =
            digest.trim_matches('"').chars().take_while(char::is_ascii_hexdigit).collect();
        ensure!(fingerprint.len() == 64, "no fingerprint in {line:?}");
        Ok(Relay { host, process, place: Place { address: address.parse()?, fingerprint } })
    }

    fn make_key(&self, at: usize) -> Result<String> {
        let output = std::process::Command::new(program()?)
            .arg("key")
            .arg(self.key_file(at))
            .output()
            .context("making a relay's key")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mode = fs::metadata(self.key_file(at))?.permissions().mode();
        ensure!(mode & 0o777 == 0o600, "the key's mode is {mode:o}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn region_file(&self) -> PathBuf {
        self.directory.0.join("region.toml")
    }

    fn key_file(&self, at: usize) -> PathBuf {
        self.directory.0.join(format!("relay{at}.key"))
    }
}

fn words_of(words: &[&str]) -> Result<Vec<String>> {
    let program = program()?.to_string_lossy().into_owned();
    Ok(std::iter::once(program).chain(words.iter().map(|&word| word.to_owned())).collect())
}

/// The `nearwire-relay` that was built beside this test.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program's own file")?;
    let profile = own.parent().and_then(Path::parent).context("the build's directory")?;
    let program = profile.join("nearwire-relay");
    let shown = program.display();
    ensure!(program.is_file(), "{shown} not found; build it with `cargo build -p relay`");
    Ok(program)
}

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32].into()).expect("every seed is a key")
}

fn control_key() -> SigningKey {
    signing_key(250)
}

/// The key of a node.
pub(crate) fn node_key(node: u8) -> PublicKey {
    PublicKey::from([node; 32])
}

/// The identity of a node, and its ticket for a network.
pub(crate) fn ticket(network: u8, node: u8) -> (SigningKey, SignedTicket) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let ticket = Ticket {
        network: NetworkId([network; 16]),
        node: node_key(node),
        identity: signing_key(node).verifying_key(),
        not_after: UnixSeconds(now + 600),
        node_rate: 0,
        network_rate: 0,
        lanes: 0,
    };
    (signing_key(node), ticket.sign(ControlKeyId(1), &control_key()))
}
