//! Where the policy of an interface outlives its daemon: files of the kernel's BPF file system.
//!
//! A program that is attached by a pinned link stays attached, and a pinned map keeps what is in
//! it, whoever made them. So a daemon that was killed leaves the policy enforced and the flow table
//! whole, and the next one takes both over.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dataplane_common::LAYOUT;
use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
};

use crate::Error;

/// Linux's `BPF_FS_MAGIC`.
const BPF_FS: u32 = 0xcafe_4a11;

/// The directory in which one interface's policy is pinned.
#[derive(Clone, Debug)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// The pins of this interface under `root`, which is made a BPF file system if it is none.
    /// Interfaces of different network namespaces may have one name, so theirs is part of it.
    ///
    /// # Errors
    ///
    /// When `root` cannot be had.
    pub fn at(root: &Path, interface: &str) -> Result<Self, Error> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| Error::Pin { action, path, reason: error.to_string() }
        };
        provide(root)
            .map_err(failed("provide a BPF file system (it takes CAP_SYS_ADMIN) at", root))?;
        let namespace = fs::read_link("/proc/thread-self/ns/net")
            .map_err(failed("tell the network namespace of", root))?;
        // As in `net:[4026531840]`.
        let digits = |c: char| c.is_ascii_digit();
        let namespace: String = namespace.to_string_lossy().matches(digits).collect();
        // No name in a BPF file system may have a dot, and no interface of ours a percent sign.
        let interface = interface.replace('.', "%2e");
        let directory = root.join(format!("{interface}-{namespace}"));
        Ok(Self { directory })
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether an earlier daemon left a policy here that this one can take over.
    #[must_use]
    pub fn hold_a_policy(&self) -> bool {
        self.layout().is_dir()
    }

    /// Takes away all that is pinned here; what nothing else holds ends with it.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Pin {
                action: "remove the pinned policy in",
                path: self.directory.clone(),
                reason: error.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Makes room for a new policy. What another version of nearwire pinned has maps of another
    /// shape and cannot be taken over.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        if !self.hold_a_policy() {
            self.remove()?;
        }
        fs::create_dir_all(self.layout()).map_err(|error| Error::Pin {
            action: "make a directory for the pinned policy in",
            path: self.directory.clone(),
            reason: error.to_string(),
        })
    }

    /// The file of a map or a link.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.layout().join(name)
    }

    fn layout(&self) -> PathBuf {
        self.directory.join(format!("layout-{LAYOUT}"))
    }
}

/// Makes sure that `root` is in a BPF file system.
fn provide(root: &Path) -> io::Result<()> {
    // `/sys/fs/bpf` is where the system mounts one, or where it belongs.
    let existing = root.ancestors().find(|path| path.is_dir());
    if existing.is_some_and(is_bpf_fs) {
        return fs::create_dir_all(root);
    }
    let place = match root.parent() {
        Some(parent) if parent == Path::new("/sys/fs/bpf") => parent,
        _ => {
            fs::create_dir_all(root)?;
            root
        }
    };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", place, "bpf", flags, Some(c"mode=0700"))?;
    fs::create_dir_all(root)
}

fn is_bpf_fs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| u32::try_from(found.f_type) == Ok(BPF_FS))
}
