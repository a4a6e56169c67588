//! Instances of `nearwire-control`, of one database.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::bench::scratch::Scratch;
use crate::{process, workspace};

/// How long an instance may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// A seal key: 32 bytes as base64.
const SEAL: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// The programs that are run.
pub(super) struct Programs {
    control: PathBuf,
    pub(super) load: PathBuf,
}

/// Where state is kept.
pub(super) enum Database {
    /// SQLite, in the folder of the bench.
    Embedded,
    /// At this address.
    At(String),
}

/// An instance that serves. It ends with its owner.
pub(super) struct Instance {
    child: Child,
    pub(super) url: String,
}

/// Instances, and the right to everything there.
pub(super) struct Instances {
    pub(super) all: Vec<Instance>,
    pub(super) token: String,
}

impl Programs {
    /// Builds what is not given.
    pub(super) fn ready(control: Option<PathBuf>, load: Option<PathBuf>) -> Result<Self> {
        let control = match control {
            Some(file) => file,
            None => built("nearwire-control", "control")?,
        };
        let load = match load {
            Some(file) => file,
            None => built("control-load", "control-load")?,
        };
        Ok(Self { control, load })
    }

    pub(super) fn start(
        &self,
        scratch: &Scratch,
        database: &Database,
        count: usize,
    ) -> Result<Instances> {
        process::run(Command::new(&self.load).arg("certificate").arg(scratch.path()))?;
        scratch.file("seal.key", SEAL)?;
        let mut all = Vec::new();
        for number in 0..count {
            all.push(self.instance(scratch, database, number)?);
        }
        let mut token = Command::new(&self.control);
        token.arg("token").args(arguments(scratch, database)).env("RUST_LOG", "error");
        let token = process::stdout(&mut token).context("making a token")?.trim().to_owned();
        Ok(Instances { all, token })
    }

    fn instance(&self, scratch: &Scratch, database: &Database, number: usize) -> Result<Instance> {
        let log = scratch.path().join(format!("log{number}"));
        let address = free_address()?;
        let mut serve = Command::new(&self.control);
        serve.arg("serve").args(arguments(scratch, database));
        serve.arg("--listen").arg(address.to_string());
        // All nodes have one address here, as those behind a proxy have.
        serve.arg("--behind-proxy");
        for (flag, file) in [("--certificate", "certificate.pem"), ("--private-key", "key.pem")] {
            serve.arg(flag).arg(scratch.path().join(file));
        }
        serve.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null());
        serve.stderr(File::create(&log).context("making a log")?);
        let child = serve.spawn().context("starting nearwire-control")?;
        let mut instance = Instance { child, url: format!("https://{address}") };
        instance.wait_until_it_listens(address, &log)?;
        Ok(instance)
    }
}

impl Instance {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_listens(&mut self, address: SocketAddr, log: &Path) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let said = || fs::read_to_string(log).unwrap_or_default();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait().context("looking at nearwire-control")? {
                bail!("nearwire-control has ended ({status}): {}", said());
            }
            ensure!(Instant::now() < deadline, "nearwire-control does not listen: {}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(scratch: &Scratch, database: &Database) -> Vec<String> {
    let file = |name: &str| scratch.path().join(name).display().to_string();
    let mut arguments = vec!["--seal-key-file".to_owned(), file("seal.key")];
    arguments.extend(match database {
        Database::Embedded => ["--data".to_owned(), file("data")],
        Database::At(url) => ["--database".to_owned(), url.clone()],
    });
    arguments
}

/// One that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
    listener.local_addr().context("looking for a port")
}

fn built(program: &str, package: &str) -> Result<PathBuf> {
    let target = workspace::Metadata::read()?.target_directory;
    let mut cargo = workspace::cargo()?;
    cargo.args(["build", "--locked", "--release", "--package", package]);
    process::run(&mut cargo)?;
    Ok(target.join("release").join(program))
}
