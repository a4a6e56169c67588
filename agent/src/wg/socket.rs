//! Unix sockets that a daemon listens on, named after its interface.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use inotify::{Inotify, WatchMask};
use rustix::fs::Mode;
use tokio::net::UnixListener;

/// A listening socket; its file vanishes with this, unless it is no longer ours.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Listens on `DIRECTORY/IFNAME.sock`, for root alone.
    pub(super) fn listen(directory: &str, interface: &str) -> anyhow::Result<Self> {
        let path = path(directory, interface);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .with_context(|| format!("cannot make the directory {directory}"))?;
        if BlockingStream::connect(&path).is_ok() {
            bail!("{} is in use: another process serves {interface}", path.display());
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("cannot remove the stale socket {}", path.display()));
            }
            _ => {}
        }
        // Set before the socket exists, so that there is no moment at which others may connect.
        let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(&path);
        rustix::process::umask(umask);
        let listener = listener.with_context(|| format!("cannot listen on {}", path.display()))?;
        let inode = fs::metadata(&path)?.ino();
        Ok(Self { listener, path, inode })
    }

    /// Waits until the socket's file is removed or replaced, which asks the daemon to end.
    pub(super) async fn removed(&self) -> anyhow::Result<()> {
        let inotify = Inotify::init().context("cannot watch files with inotify")?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        inotify
            .watches()
            .add(directory, WatchMask::DELETE | WatchMask::MOVE | WatchMask::CREATE)
            .with_context(|| format!("cannot watch {}", directory.display()))?;
        let mut events = inotify.into_event_stream(vec![0; 4096])?;
        while self.is_ours() {
            if events.next().await.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn is_ours(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_ours() {
            // Already gone is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where the socket of an interface is.
pub(super) fn path(directory: &str, interface: &str) -> PathBuf {
    Path::new(directory).join(format!("{interface}.sock"))
}
