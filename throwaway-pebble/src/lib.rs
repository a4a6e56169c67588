//! A certificate authority for one test: pebble, with which Let's Encrypt has clients tested, and a
//! name server that knows every name as this machine.
#![forbid(unsafe_code)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// The one external account that there is: its identifier, and its key.
pub const EXTERNAL_ACCOUNT: (&str, &str) =
    ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A certificate authority that runs. It ends with its owner.
pub struct Authority {
    listen: SocketAddr,
    management: SocketAddr,
    root: PathBuf,
    external_key: PathBuf,
    _running: [Running; 2],
}

/// What a new authority is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where it listens.
    pub listen: SocketAddr,
    /// At whose port it looks for proofs.
    pub looks_at: SocketAddr,
    /// For how many seconds its certificates are good.
    pub seconds: u64,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address on which nothing listens now.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("asking for a port")?;
    listener.local_addr().context("the port that was given")
}

impl Authority {
    /// Starts one, with its files in this directory.
    pub fn start(directory: &Path, plan: Plan) -> Result<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
        let file = |name: &str, text: &str| -> Result<PathBuf> {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            Ok(path)
        };
        let root = file("root.pem", &made.cert.pem())?;
        let key = file("root-key.pem", &made.signing_key.serialize_pem())?;
        let external_key = file("external-key", EXTERNAL_ACCOUNT.1)?;
        let (dns, names_management, management) =
            (free_address()?, free_address()?, free_address()?);
        let config = serde_json::json!({ "pebble": {
            "listenAddress": plan.listen,
            "managementListenAddress": management,
            "certificate": root,
            "privateKey": key,
            "httpPort": 5002,
            "tlsPort": plan.looks_at.port(),
            "externalAccountBindingRequired": true,
            "externalAccountMACKeys": { EXTERNAL_ACCOUNT.0: EXTERNAL_ACCOUNT.1 },
            "certificateValidityPeriod": plan.seconds,
        }});
        let config = file("pebble.json", &config.to_string())?;
        let (dns_text, names_management) = (dns.to_string(), names_management.to_string());
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-dns01", &dns_text, "-management", &names_management, "-defaultIPv6", ""]);
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(config).args(["-dnsserver", &dns_text]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1");
        let running = [start(&mut names)?, start(&mut pebble)?];
        for address in [dns, plan.listen, management] {
            let deadline = Instant::now() + PATIENCE;
            while TcpStream::connect(address).is_err() {
                ensure!(Instant::now() < deadline, "nothing listens on {address}");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(Self { listen: plan.listen, management, root, external_key, _running: running })
    }

    /// Where clients begin.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.listen)
    }

    /// The certificate by which its own pages are trusted.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file with the key of [`EXTERNAL_ACCOUNT`].
    #[must_use]
    pub fn external_key(&self) -> &Path {
        &self.external_key
    }

    /// Where the certificate is that vouches for those that it gives.
    #[must_use]
    pub fn voucher(&self) -> String {
        format!("https://{}/roots/0", self.management)
    }
}

fn start(command: &mut Command) -> Result<Running> {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let shown = command.get_program().to_string_lossy().into_owned();
    child
        .map(Running)
        .with_context(|| format!("starting {shown}: is it missing? `apt-get install pebble`"))
}
