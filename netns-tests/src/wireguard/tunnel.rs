//! One WireGuard interface in one host, and the process that serves it.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::builder::TunnelBuilder;
use super::keys::{KeyFile, KeyPair};
use super::program::Implementation;
use super::socket::{ask, remove_sockets, uapi_path};
use super::status::{DeviceStatus, PeerStatus};
use crate::host::Host;
use crate::process::{Output, Process};
use crate::wait::holds_within;

/// How long a start may take, on a machine that builds and tests at the same time.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// A running WireGuard. When dropped, its process is ended and its sockets removed.
#[derive(Debug)]
pub struct Tunnel<'h> {
    pub(super) host: &'h Host,
    pub(super) builder: TunnelBuilder,
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) keys: KeyPair,
    pub(super) process: Option<Process>,
}

/// How a tunnel is to know a peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerSettings<'a> {
    /// The networks that it may use, separated by commas.
    pub allowed_ips: &'a str,
    /// The address outside where it is, if it is to be told; the port is the other tunnel's.
    pub endpoint: Option<IpAddr>,
    /// A key on top that both know, in base64.
    pub preshared: Option<&'a str>,
    /// Seconds between keepalives; 0 is never.
    pub keepalive: u16,
}

impl<'h> Tunnel<'h> {
    /// Describes a tunnel; [`TunnelBuilder::start`] makes it.
    pub fn builder(implementation: Implementation) -> TunnelBuilder {
        TunnelBuilder {
            implementation,
            program: None,
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Starts a tunnel with nothing special.
    ///
    /// # Errors
    /// As [`TunnelBuilder::start`].
    pub fn start(host: &'h Host, implementation: Implementation) -> Result<Self> {
        Self::builder(implementation).start(host)
    }

    /// Where it runs.
    #[must_use]
    pub fn host(&self) -> &'h Host {
        self.host
    }

    /// What runs.
    #[must_use]
    pub fn implementation(&self) -> Implementation {
        self.builder.implementation
    }

    /// The interface's name, unlike any other's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The UDP port that [`Self::configure`] sets.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The keys that [`Self::configure`] sets.
    #[must_use]
    pub fn keys(&self) -> &KeyPair {
        &self.keys
    }

    /// The public key that [`Self::configure`] sets, in base64.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.keys.public
    }

    /// The process that serves it.
    ///
    /// # Panics
    /// Never: only what consumes the tunnel takes it out.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a tunnel has its process until it is dropped")
    }

    /// Sets the key and the port, gives the interface addresses (with prefix length), and brings
    /// it up.
    ///
    /// # Errors
    /// When `wg` or `ip` refuses.
    pub fn configure(&self, addresses: &[&str]) -> Result<()> {
        self.set_key_and_port()?;
        if self.implementation() == Implementation::Gotatun {
            // It makes its interface anew when it is configured, and tells nobody when.
            std::thread::sleep(Duration::from_millis(300));
        }
        let shown = ["ip", "link", "show", &self.name];
        let there = || self.host.output(shown).is_ok_and(|output| output.status.success());
        let process = self.process();
        // Some end by themselves when they are configured.
        holds_within(READY_WITHIN, || there() || !process.is_running());
        ensure!(
            there(),
            "{}: no such interface; its process {}\n{}",
            self.name,
            if process.is_running() { "runs" } else { "has ended" },
            process.output_so_far()
        );
        for address in addresses {
            self.host.ip(["address", "add", address, "dev", &self.name])?;
        }
        self.up()
    }

    /// Sets the key and the port: all that an interface needs which has outlived its process.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_key_and_port(&self) -> Result<()> {
        self.set_private_key(&self.keys.private)?;
        self.set(["listen-port", &self.port.to_string()])
    }

    /// Runs `wg set INTERFACE` with these words.
    ///
    /// # Errors
    /// When it refuses.
    pub fn set<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<()> {
        let mut all: Vec<OsString> = ["wg", "set", &self.name].map(OsString::from).to_vec();
        all.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self.host.run(all)?;
        Ok(())
    }

    /// Sets a private key by `wg set`.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_private_key(&self, key: &str) -> Result<()> {
        let file = KeyFile::new(key)?;
        self.set(["private-key", &file.path()])
    }

    /// Adds a peer, another tunnel, in one request (boringtun cannot change a peer that it has).
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn add_peer(&self, other: &Tunnel<'_>, settings: &PeerSettings<'_>) -> Result<()> {
        let mut words = vec!["peer", other.public_key(), "allowed-ips", settings.allowed_ips];
        let endpoint = settings.endpoint.map(|ip| SocketAddr::from((ip, other.port())).to_string());
        if let Some(endpoint) = &endpoint {
            words.extend(["endpoint", endpoint]);
        }
        let file = settings.preshared.map(KeyFile::new).transpose()?;
        let path = file.as_ref().map(KeyFile::path);
        if let Some(path) = &path {
            words.extend(["preshared-key", path]);
        }
        let seconds = settings.keepalive.to_string();
        if settings.keepalive > 0 {
            words.extend(["persistent-keepalive", &seconds]);
        }
        self.set(words)
    }

    /// Removes a peer.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn remove_peer(&self, other: &Tunnel<'_>) -> Result<()> {
        self.set(["peer", other.public_key(), "remove"])
    }

    /// Brings the interface up.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn up(&self) -> Result<()> {
        self.host.ip(["link", "set", &self.name, "up"])?;
        // Nobody can bind to an IPv6 address before the kernel's own work queue has been over it.
        let settled = || {
            let tentative = ["-6", "address", "show", "dev", &self.name, "tentative"];
            self.host.ip(tentative).is_ok_and(|output| output.stdout.is_empty())
        };
        ensure!(holds_within(READY_WITHIN, settled), "{}: its addresses stay tentative", self.name);
        Ok(())
    }

    /// Takes the interface down.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn down(&self) -> Result<()> {
        self.host.ip(["link", "set", &self.name, "down"])?;
        Ok(())
    }

    /// Sets the interface's MTU.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn set_mtu(&self, mtu: u16) -> Result<()> {
        self.host.ip(["link", "set", &self.name, "mtu", &mtu.to_string()])?;
        Ok(())
    }

    /// `wg show INTERFACE dump`, read.
    ///
    /// # Errors
    /// When `wg` fails.
    pub fn show(&self) -> Result<DeviceStatus> {
        let mut device: DeviceStatus =
            self.host.run(["wg", "show", &self.name, "dump"])?.stdout.parse()?;
        if self.builder.implementation == Implementation::Boringtun {
            // It reports how long ago a handshake was in place of when.
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
            for peer in &mut device.peers {
                if peer.latest_handshake > 0 {
                    peer.latest_handshake = now - peer.latest_handshake;
                }
            }
        }
        Ok(device)
    }

    /// The peer that is another tunnel, as shown.
    ///
    /// # Errors
    /// When `wg` fails, or there is no such peer.
    pub fn peer(&self, other: &Tunnel<'_>) -> Result<PeerStatus> {
        self.show()?.peer(other.public_key()).cloned()
    }

    /// Waits until a peer is as wanted.
    ///
    /// # Errors
    /// When it is not within `timeout`; with its status.
    pub fn wait_for_peer(
        &self,
        other: &Tunnel<'_>,
        timeout: Duration,
        what: &str,
        wanted: impl Fn(&PeerStatus) -> bool,
    ) -> Result<PeerStatus> {
        let mut last = None;
        let came = holds_within(timeout, || {
            last = self.peer(other).ok();
            last.as_ref().is_some_and(&wanted)
        });
        match last {
            Some(peer) if came => Ok(peer),
            _ => bail!("{}: waited {timeout:?} in vain: {what}: {last:?}", self.name),
        }
    }

    /// The configuration socket.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        uapi_path(&self.name)
    }

    /// Sends one raw request (without its closing empty line) and gives the whole answer.
    ///
    /// # Errors
    /// When there is no whole answer within ten seconds.
    pub fn request(&self, request: &str) -> Result<String> {
        let path = self.socket_path();
        ask(&path, request).with_context(|| format!("{}: {request:?}", path.display()))
    }

    /// Waits for the end of the process, which something else brings about.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub fn wait(mut self, timeout: Duration) -> Result<Output> {
        let process = self.process.take().context("no process")?;
        let name = std::mem::take(&mut self.name);
        let ended = process.wait(timeout);
        // What it should have removed stays, for the test to find.
        if ended.is_err() {
            remove_sockets(&name);
        }
        ended
    }

    /// Kills the process, without a chance to say goodbye, and starts it again under the same name,
    /// not configured.
    ///
    /// # Errors
    /// As [`TunnelBuilder::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.start_again()
    }

    /// Kills the process, without a chance to say goodbye.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.process().signal(Signal::KILL)?;
        drop(self.process.take());
        remove_sockets(&self.name);
        Ok(())
    }

    /// Starts the process again after [`Self::kill`], under the same name, not configured.
    ///
    /// # Errors
    /// As [`TunnelBuilder::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.launch()
    }

    pub(super) fn launch(&mut self) -> Result<()> {
        self.process = Some(self.builder.launch(self.host, &self.name)?);
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> Result<()> {
        let process = self.process();
        let mut answer = None;
        holds_within(READY_WITHIN, || {
            answer = self.request("get=1").ok().filter(|text| text.ends_with("errno=0\n\n"));
            answer.is_some() || !process.is_running()
        });
        ensure!(
            answer.is_some(),
            "{}: {}\n{}",
            process.command_line(),
            if process.is_running() { "it does not answer" } else { "it has ended" },
            process.output_so_far()
        );
        Ok(())
    }
}

impl Drop for Tunnel<'_> {
    fn drop(&mut self) {
        drop(self.process.take());
        if !self.name.is_empty() {
            remove_sockets(&self.name);
        }
    }
}
