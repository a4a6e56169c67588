//! Files that must survive a crash at any moment.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::io::Errno;

use super::Record;
use crate::core::{Ours, give_back, is_taken, take_over};

/// Longer ones are no `resolv.conf`.
const LONGEST: u64 = 1 << 20;

/// What is in a file; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    anyhow::ensure!(length <= LONGEST, "{} is too long: {length} bytes", path.display());
    fs::read(path).map(Some).with_context(|| format!("reading {}", path.display()))
}

/// Has the host ask us.
pub(super) fn take(path: &Path, ours: &Ours) -> Result<()> {
    let before = read(path)?;
    let after = take_over(before.as_deref(), ours);
    if before.as_deref() != Some(&after) {
        write(path, &after, 0o644).with_context(|| {
            format!("writing {}: is it immutable, or the file system read-only?", path.display())
        })?;
    }
    Ok(())
}

/// Gives back what was taken.
pub(super) fn give(path: &Path) -> Result<()> {
    let Some(taken) = read(path)?.filter(|text| is_taken(text)) else { return Ok(()) };
    match give_back(&taken) {
        Some(before) => write(path, &before, 0o644),
        None => fs::remove_file(target(path)?),
    }
    .with_context(|| format!("writing {}", path.display()))
}

pub(super) fn write_record(path: &Path, record: &Record) -> Result<()> {
    let text = serde_json::to_vec(record).context("writing down what is changed")?;
    if read(path)?.as_deref() == Some(&text) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    write(path, &text, 0o600).with_context(|| format!("writing {}", path.display()))
}

/// What was written down; what cannot be read is as if it were not there.
pub(super) fn read_record(path: &Path) -> Result<Option<Record>> {
    let Some(text) = read(path)? else { return Ok(None) };
    let record = serde_json::from_slice(&text);
    if let Err(error) = &record {
        tracing::warn!("{} cannot be read and is passed over: {error}", path.display());
    }
    Ok(record.ok())
}

pub(super) fn remove_record(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The file that is meant, behind links.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    // Also a link to what is not there yet.
    for _ in 0..16 {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("/")).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(Errno::LOOP.into())
}

/// Puts a new file in the place of the old one, with its owner and mode. Where that cannot be, as with
/// a file that is mounted, it is written in its place.
fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = target(path)?;
    let mut beside = path.clone().into_os_string();
    beside.push(".nearwire");
    let beside = PathBuf::from(beside);
    match replace(&path, &beside, bytes, mode) {
        Ok(()) => Ok(()),
        Err(error) if path.exists() => {
            tracing::debug!(%error, path = %path.display(), "writing it in its place");
            let _ = fs::remove_file(&beside);
            // One call with all of it, so that nobody reads half.
            let mut file = OpenOptions::new().write(true).open(&path)?;
            file.write_all(bytes)?;
            file.set_len(bytes.len() as u64)?;
            file.sync_all()
        }
        Err(error) => Err(error),
    }
}

fn replace(path: &Path, beside: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let old = fs::metadata(path).ok();
    // One that a crash has left.
    let _ = fs::remove_file(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
    let mode = old.as_ref().map_or(mode, |old| old.permissions().mode());
    file.set_permissions(Permissions::from_mode(mode))?;
    if let Some(old) = &old {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Ours {
        Ours { nameserver: "169.254.53.53".parse().unwrap(), search: None }
    }

    /// A directory that goes with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("nearwire-{name}-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn links_stay_links_and_modes_stay() {
        let scratch = Scratch::new("links");
        let (file, link) = (scratch.0.join("real"), scratch.0.join("resolv.conf"));
        fs::write(&file, "nameserver 10.0.0.1\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        take(&link, &ours()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(is_taken(&fs::read(&file).unwrap()));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        give(&link).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "nameserver 10.0.0.1\n");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2);
    }

    #[test]
    fn what_was_not_there_is_not_there_again() {
        let scratch = Scratch::new("absent");
        let link = scratch.0.join("resolv.conf");
        std::os::unix::fs::symlink("later", &link).unwrap();
        take(&link, &ours()).unwrap();
        assert!(scratch.0.join("later").exists());
        give(&link).unwrap();
        assert!(!scratch.0.join("later").exists());
        give(&link).unwrap();
        std::os::unix::fs::symlink("round", scratch.0.join("round")).unwrap();
        assert!(take(&scratch.0.join("round"), &ours()).is_err());
    }
}
