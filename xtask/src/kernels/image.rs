//! Debian's kernels: fetched by apt from wherever this machine gets its packages, unpacked here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Series;
use crate::{packages, process};

/// A kernel, unpacked and never installed.
pub(crate) struct Image {
    /// The kernel's own name, such as `6.1.0-56-amd64`.
    pub(crate) release: String,
    /// The package's contents.
    pub(crate) root: PathBuf,
    pub(crate) vmlinuz: PathBuf,
}

/// The package that depends on the series' newest kernel. The cloud flavours lack 9p.
fn meta_package(series: Series) -> &'static str {
    match series {
        Series::V6_1 => "linux-image-amd64",
        Series::V6_12 => "linux-image-6.12-amd64",
    }
}

/// The series' kernel under `store`, fetched when it is not there yet.
pub(crate) fn ready(series: Series, store: &Path) -> Result<Image> {
    let dir = store.join(series.name());
    if let Some(image) = unpacked(&dir)? {
        return Ok(image);
    }
    packages::update_if_stale()?;
    let package = newest(series)?;
    eprintln!("fetching {package}");
    let fresh = store.join(format!("{}.new", series.name()));
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("clearing {}", fresh.display()))?;
    }
    fs::create_dir_all(&fresh).with_context(|| format!("making {}", fresh.display()))?;
    let deb = download(&package, &fresh)?;
    process::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&fresh))?;
    fs::remove_file(&deb).with_context(|| format!("removing {}", deb.display()))?;
    let Some(image) = unpacked(&fresh)? else {
        bail!("{package} holds no kernel: is it a meta package of a new kind?");
    };
    // A package's own modules.dep is made when it is installed, which this one is not.
    process::run(Command::new("depmod").arg("-b").arg(&fresh).arg(&image.release))?;
    // Only a whole kernel gets the name that is looked for.
    fs::rename(&fresh, &dir).with_context(|| format!("naming {}", dir.display()))?;
    unpacked(&dir)?.with_context(|| format!("{} vanished", dir.display()))
}

/// The kernel in `dir`, if there is one.
fn unpacked(dir: &Path) -> Result<Option<Image>> {
    let boot = dir.join("boot");
    if !boot.is_dir() {
        return Ok(None);
    }
    for entry in fs::read_dir(&boot).with_context(|| format!("listing {}", boot.display()))? {
        let vmlinuz = entry.with_context(|| format!("listing {}", boot.display()))?.path();
        let name = vmlinuz.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            let release = release.to_owned();
            return Ok(Some(Image { release, root: dir.to_path_buf(), vmlinuz }));
        }
    }
    Ok(None)
}

/// The package of the series' newest kernel.
fn newest(series: Series) -> Result<String> {
    let meta = meta_package(series);
    let missing = || {
        format!(
            "apt knows no {meta}: enable Debian 12's `bookworm-security` suite in the apt \
             sources, run `apt-get update`, then run this again"
        )
    };
    let depends =
        process::stdout(Command::new("apt-cache").args(["depends", meta])).with_context(missing)?;
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.filter(|name| name.starts_with("linux-image-")).with_context(missing)?;
    Ok(package.to_owned())
}

/// Fetches a package's file without installing it.
fn download(package: &str, into: &Path) -> Result<PathBuf> {
    // apt would fetch as its own user, who may not write here.
    let fetch = || {
        let mut apt = packages::apt();
        apt.args(["-o", "APT::Sandbox::User=root", "download", package]).current_dir(into);
        process::run(&mut apt)
    };
    if fetch().is_err() {
        process::run(packages::apt().arg("update"))?;
        fetch().with_context(|| format!("{package} could not be fetched: see apt's message"))?;
    }
    for entry in fs::read_dir(into).with_context(|| format!("listing {}", into.display()))? {
        let path = entry.with_context(|| format!("listing {}", into.display()))?.path();
        if path.extension().is_some_and(|kind| kind == "deb") {
            return Ok(path);
        }
    }
    bail!("apt-get fetched {package} but there is no .deb in {}", into.display())
}
