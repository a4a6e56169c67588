//! A lab: where hosts come from, and the proof that nothing of it stays.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::{Host, TAG_VARIABLE};
use crate::link::LinkBuilder;
use crate::namespace::Namespace;
use crate::wait::holds_within;

const NO_PRIVILEGE: &str = "network namespaces need root (CAP_SYS_ADMIN and CAP_NET_ADMIN); \
     run `cargo xtask test` or `sudo -E cargo test -p netns-tests`";

/// How long the kernel may take to end what was told to end.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A set of hosts and links. Labs do not see each other, so tests run side by side.
#[derive(Debug)]
pub struct Lab {
    tag: String,
    namespaces: Mutex<Vec<Weak<Namespace>>>,
}

impl Lab {
    /// An empty lab; the name shows in messages and in the environment of its processes.
    ///
    /// # Errors
    /// Without privilege; the message says how to mend that.
    pub fn new(name: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            bail!(NO_PRIVILEGE);
        }
        // Process ids come round again; the random part does not.
        let random = RandomState::new().build_hasher().finish();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            tag: format!("{name}-{}-{count}-{random:016x}", std::process::id()),
            namespaces: Mutex::default(),
        })
    }

    /// A host with nothing but loopback.
    ///
    /// # Errors
    /// When the kernel gives no namespace or `ip` is missing.
    pub fn host(&self, name: &str) -> Result<Host> {
        let namespace = Namespace::new().context(NO_PRIVILEGE)?;
        let namespace = Arc::new(namespace);
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&namespace));
        Host::new(name, &self.tag, namespace)
    }

    /// A host that forwards IPv4 and IPv6.
    ///
    /// # Errors
    /// As [`Lab::host`].
    pub fn router(&self, name: &str) -> Result<Host> {
        self.host(name)?.into_router()
    }

    /// A switch: links to it make one LAN of the hosts at their other ends.
    ///
    /// # Errors
    /// As [`Lab::host`].
    pub fn switch(&self, name: &str) -> Result<Host> {
        self.host(name)?.into_switch()
    }

    /// Describes a link between two hosts; [`LinkBuilder::veth`] or [`LinkBuilder::impaired`] makes it.
    pub fn link<'l>(&self, a: &'l Host, b: &'l Host) -> LinkBuilder<'l> {
        LinkBuilder::new(a, b)
    }

    /// What to look for once this lab is gone.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let namespaces = self.namespaces.lock();
        Footprint {
            tag: self.tag.clone(),
            namespaces: namespaces.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// What a lab has made so far, without keeping it alive.
#[derive(Clone, Debug)]
pub struct Footprint {
    tag: String,
    namespaces: Vec<Weak<Namespace>>,
}

impl Footprint {
    /// Checks that no namespace of the lab is held by this process and that no process it started,
    /// or a child of one, still runs. Interfaces need no search: they lived in the namespaces.
    ///
    /// # Panics
    /// When something is still there after five seconds.
    #[track_caller]
    pub fn assert_clean(&self) {
        if !holds_within(GONE_WITHIN, || self.leftovers().is_empty()) {
            panic!("left behind by lab {}: {:?}", self.tag, self.leftovers());
        }
    }

    /// What is still there, in words.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let held = self.namespaces.iter().filter(|weak| weak.strong_count() > 0);
        held.map(|_| "a namespace held by this process".to_owned())
            .chain(processes_with(&self.tag))
            .collect()
    }
}

/// Fails the calling test, with the reason and the remedy, where a lab cannot be had.
///
/// # Panics
/// Without privilege.
#[track_caller]
pub fn require_root() {
    if let Err(error) = Namespace::new() {
        panic!("{NO_PRIVILEGE} ({error})");
    }
}

fn processes_with(tag: &str) -> impl Iterator<Item = String> {
    let mark = format!("{TAG_VARIABLE}={tag}").into_bytes();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        // A process may end while it is looked at, and what is no process has no environment.
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        environment.split(|&byte| byte == 0).find(|entry| *entry == mark)?;
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some(format!("process {} ({})", entry.file_name().display(), name.trim_end()))
    })
}
