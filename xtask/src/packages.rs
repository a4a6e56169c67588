//! The programs of others that tests and benches need: found, or installed by package name.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// A program, and the Debian package it comes in.
pub(crate) type Need = (&'static str, &'static str);

/// What the tests run beside our own programs.
pub(crate) const FOR_TESTS: &[Need] = &[
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("wg", "wireguard-tools"),
    ("wireguard-go", "wireguard-go"),
    ("iperf3", "iperf3"),
    ("unshare", "util-linux"),
    ("nft", "nftables"),
    // Its servers are not in $PATH; this one of the same package is.
    ("pg_ctlcluster", "postgresql"),
    ("pebble", "pebble"),
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("dbus-daemon", "dbus-daemon"),
    ("faketime", "faketime"),
    ("turnutils_stunclient", "coturn"),
    // Its first process is not in $PATH; this one of the same package is.
    ("systemd-analyze", "systemd"),
];

/// Packages that tests run without installing them: each would change how this machine finds names, or
/// run on it. systemd-resolved needs the library of its own version.
pub(crate) const UNPACKED: &[&str] = &[
    "libsystemd-shared",
    "miniupnpd-nftables",
    "openresolv",
    "resolvconf",
    "systemd-resolved",
    "tayga",
];

/// Of those, the ones that make routers: what maps ports, and NAT64 with its DNS.
pub(crate) const ROUTERS: &[&str] = &["miniupnpd-nftables", "tayga"];
pub(crate) const FOR_ROUTERS: &[Need] = &[("dnsmasq", "dnsmasq-base")];

/// What it takes to raise a tunnel and to send through it.
pub(crate) const FOR_TUNNELS: &[Need] = &[
    ("wg", "wireguard-tools"),
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("iperf3", "iperf3"),
];

/// What the demo needs for its NATs.
pub(crate) const FOR_NATS: &[Need] = &[("nft", "nftables")];

/// The other userspace WireGuard that tests and benches meet; not packaged by Debian.
pub(crate) const BORINGTUN: &str = "0.7.1";

/// Lists older than this may name packages that the mirror no longer has.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// Makes every program of `needs` available.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|(tool, _)| find(tool).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (tool, package) in &missing {
        eprintln!("`{tool}` is not here: installing Debian's {package}");
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if find("apt-get").is_none() {
        bail!(
            "{} missing, and this is not Debian (no apt-get): install what Debian calls {}",
            name(&missing),
            packages.join(" ")
        );
    }
    if !is_root()? {
        bail!("{} missing, and only root can install: run `sudo {by_hand}`", name(&missing));
    }
    update_if_stale()?;
    let install = |packages: &[&str]| {
        process::run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
    };
    if install(&packages).is_err() {
        // A mirror that moved on since the lists were read answers 404 once.
        process::run(apt().arg("update"))?;
        install(&packages).with_context(|| {
            format!("{} missing: look at apt's message, then `{by_hand}`", name(&missing))
        })?;
    }
    for (tool, package) in missing {
        if find(tool).is_none() {
            bail!("package {package} is installed but brought no `{tool}`: is its path in $PATH?");
        }
    }
    Ok(())
}

/// Fetches packages and unpacks each into `.tools/unpacked/NAME`.
pub(crate) fn unpack(packages: &[&str]) -> Result<()> {
    let unpacked = workspace::root()?.join(".tools/unpacked");
    let missing: Vec<&&str> =
        packages.iter().filter(|name| !unpacked.join(name).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    update_if_stale()?;
    for package in missing {
        eprintln!("unpacking Debian's {package} for tests, without installing it");
        let half = unpacked.join(format!("{package}.half"));
        fs::create_dir_all(&half).with_context(|| format!("making {}", half.display()))?;
        process::run(apt().current_dir(&half).args(["download", package]))?;
        let files = fs::read_dir(&half)?.collect::<std::io::Result<Vec<_>>>()?;
        let deb = files
            .iter()
            .map(fs::DirEntry::path)
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        let deb = deb.with_context(|| format!("apt-get downloaded no {package}"))?;
        process::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&half))?;
        fs::remove_file(&deb)?;
        fs::rename(&half, unpacked.join(package))?;
    }
    Ok(())
}

/// Makes a program of crates.io available under `.tools/bin` and returns its path.
pub(crate) fn from_crates(program: &str, package: &str, version: &str) -> Result<PathBuf> {
    from_crates_as(program, package, version, &[])
}

/// The same, built with these flags of `cargo install`.
pub(crate) fn from_crates_as(
    program: &str,
    package: &str,
    version: &str,
    flags: &[&str],
) -> Result<PathBuf> {
    let tools = workspace::root()?.join(".tools");
    let path = tools.join("bin").join(program);
    // Cargo's own record of what it installed there.
    let record = fs::read_to_string(tools.join(".crates.toml")).unwrap_or_default();
    if path.exists() && record.contains(&format!("\"{package} {version} ")) {
        return Ok(path);
    }
    eprintln!("{package} {version} is not here: building it (a minute or two)");
    let mut install = workspace::cargo()?;
    install.args(["install", package, "--version", version, "--locked", "--force"]);
    install.args(flags);
    process::run(install.arg("--root").arg(&tools)).with_context(|| {
        format!("{package} could not be built: it comes from crates.io, so look at the network")
    })?;
    Ok(path)
}

/// `$PATH` with `.tools/bin` in front, for children that look for the peers by name.
pub(crate) fn path_with_tools() -> Result<std::ffi::OsString> {
    let tools = workspace::root()?.join(".tools/bin");
    let rest = search_path();
    env::join_paths(std::iter::once(tools).chain(rest)).context("$PATH cannot take .tools/bin")
}

/// Whether we are root.
pub(crate) fn is_root() -> Result<bool> {
    let own = fs::metadata("/proc/self").context("no /proc here: is it mounted?")?;
    Ok(own.uid() == 0)
}

/// Where a program is, if anywhere.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    search_path().into_iter().map(|dir| dir.join(tool)).find(|path| path.is_file())
}

/// `$PATH`, and the system directories that shells of ordinary users leave out.
fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    dirs.extend(system.into_iter().filter(|dir| !env::split_paths(&path).any(|d| d == *dir)));
    dirs
}

/// apt-get that asks nothing.
pub(crate) fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.args(["-q", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120"]);
    apt
}

/// Reads the package lists when there are none or they are old.
pub(crate) fn update_if_stale() -> Result<()> {
    let lists = Path::new("/var/lib/apt/lists");
    let newest = fs::read_dir(lists)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with("Release"))
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .max();
    let fresh =
        newest.is_some_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < STALE));
    if fresh { Ok(()) } else { process::run(apt().arg("update")) }
}

fn name(missing: &[&Need]) -> String {
    let tools: Vec<String> = missing.iter().map(|(tool, _)| format!("`{tool}`")).collect();
    format!("{} {}", tools.join(", "), if tools.len() == 1 { "is" } else { "are" })
}
