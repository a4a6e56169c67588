//! A PostgreSQL of our own: a throw-away cluster in a temporary directory, on a Unix socket only.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// PostgreSQL does not run as root.
const NOBODY: u32 = 65534;
/// How long it may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster that runs. It ends, and its files go, with its owner.
pub struct Cluster {
    directory: PathBuf,
    settings: Vec<String>,
    process: Mutex<Option<Child>>,
    databases: AtomicU32,
}

/// Whether what was answered has to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// As in service.
    Kept,
    /// Faster, for tests of other things.
    Lost,
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub fn start(durability: Durability) -> Result<Self> {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("nearwire-pg-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        let mut settings = vec!["max_connections=300".to_owned()];
        if durability == Durability::Lost {
            settings.push("fsync=off".to_owned());
        }
        let (process, databases) = (Mutex::default(), AtomicU32::new(0));
        // From here on its files go with it.
        let cluster = Self { directory, settings, process, databases };
        if is_root() {
            chown(&cluster.directory, Some(NOBODY), Some(NOBODY)).context("giving it away")?;
        }
        cluster.done(
            program("initdb")?
                .args(["--auth=trust", "--username=nearwire", "--no-sync", "-D"])
                .arg(cluster.data()),
        )?;
        cluster.resume()?;
        Ok(cluster)
    }

    /// Makes a database, and says its address.
    pub fn database(&self) -> Result<String> {
        let name = format!("db{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.done(
            program("createdb")?
                .args(["--username=nearwire", "--host"])
                .arg(&self.directory)
                .arg(&name),
        )?;
        Ok(format!("postgres://nearwire@localhost/{name}?host={}", self.directory.display()))
    }

    /// Ends it and all connections to it. What was committed stays.
    pub fn stop(&self) -> Result<()> {
        let Some(mut process) = self.process().take() else { return Ok(()) };
        let number = i32::try_from(process.id()).context("a process of no number")?;
        let pid = Pid::from_raw(number).context("a process of no number")?;
        // "Fast": it waits for nobody.
        kill_process(pid, Signal::INT).context("asking postgres to end")?;
        let deadline = Instant::now() + PATIENCE;
        while process.try_wait().context("waiting for postgres")?.is_none() {
            if Instant::now() > deadline {
                let _ = process.kill();
                bail!("postgres does not end: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Starts it again after [`Self::stop`].
    pub fn resume(&self) -> Result<()> {
        let mut running = self.process();
        ensure!(running.is_none(), "postgres runs already");
        let mut postgres = program("postgres")?;
        postgres.arg("-D").arg(self.data()).arg("-k").arg(&self.directory).args(["-h", ""]);
        for setting in &self.settings {
            postgres.args(["-c", setting]);
        }
        let log = File::create(self.directory.join("log")).context("making its log")?;
        postgres.current_dir(&self.directory).stdout(Stdio::null()).stderr(log);
        *running = Some(postgres.spawn().context("starting postgres")?);
        drop(running);
        self.wait_until_ready()
    }

    /// The number of its first process; those of its connections are children of it.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Child::id)
    }

    /// It listens before it is ready.
    fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut ask = program("pg_isready")?;
            ask.args(["--quiet", "--host"]).arg(&self.directory).current_dir(&self.directory);
            if ask.status().context("running pg_isready")?.success() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "postgres is not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn done(&self, command: &mut Command) -> Result<()> {
        let shown = command.get_program().to_string_lossy().into_owned();
        let output = command.current_dir(&self.directory).output();
        let output = output.with_context(|| format!("starting {shown}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{shown}: {said}");
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut process) = self.process().take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn program(name: &str) -> Result<Command> {
    let mut command = Command::new(find(name)?);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(command)
}

/// Debian keeps the programs of each version in a directory of its own.
fn find(name: &str) -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    places.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path));
    let found = places.iter().rev().map(|place| Path::join(place, name));
    found.into_iter().find(|path| path.is_file()).with_context(|| {
        format!("there is no {name}: PostgreSQL is missing, run `apt-get install postgresql`")
    })
}
