//! An anonymous network namespace: a descriptor, and nothing in the file system.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;

use crate::sys;

#[derive(Debug)]
pub(crate) struct Namespace {
    fd: Arc<OwnedFd>,
}

impl Namespace {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = Arc::new(sys::new_network_namespace()?);
        Ok(Self { fd })
    }

    /// Runs `work` inside, on a thread of its own, and hands on its value or its panic.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| sys::move_thread(&self.fd).map(|()| work()));
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub(crate) fn prepare(&self, command: &mut Command) {
        sys::prepare_child(command, Arc::clone(&self.fd));
    }

    /// A path to the namespace that `ip` and `nsenter` take, good while this process lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }
}
