//! What a test run may leave on the machine by mistake, looked at before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Set for every program of a run: a process that carries it afterwards is a leftover, also
/// one that made itself a daemon, and nobody else's process is mistaken for one.
pub(crate) const MARK: &str = "NEARWIRE_TEST_RUN";

/// This run's value of [`MARK`].
pub(crate) fn mark() -> String {
    process::id().to_string()
}

/// How long the last processes of a run may take to go.
const GRACE: Duration = Duration::from_secs(3);

/// The things on the machine that tests make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    namespaces: BTreeSet<String>,
    interfaces: BTreeSet<String>,
    sockets: BTreeSet<String>,
    pins: BTreeSet<String>,
}

impl Machine {
    /// Looks.
    pub(crate) fn look() -> Result<Self> {
        Ok(Self {
            namespaces: names("/run/netns"),
            interfaces: names("/sys/class/net"),
            sockets: names("/run/wireguard"),
            pins: names("/sys/fs/bpf"),
        })
    }

    /// What is here and was not in `before`, in words.
    fn beyond(&self, before: &Self) -> Vec<String> {
        let kinds = [
            ("network namespace", &self.namespaces, &before.namespaces),
            ("interface", &self.interfaces, &before.interfaces),
            ("WireGuard socket", &self.sockets, &before.sockets),
            ("pinned BPF object", &self.pins, &before.pins),
        ];
        let fresh = |(kind, now, then): &(&str, &BTreeSet<String>, &BTreeSet<String>)| {
            now.difference(then).map(|name| format!("{kind} {name}")).collect::<Vec<_>>()
        };
        kinds.iter().flat_map(fresh).collect()
    }
}

/// Fails when something is here that was not before, or a process of this run still lives.
pub(crate) fn check(before: &Machine) -> Result<()> {
    let deadline = Instant::now() + GRACE;
    loop {
        let mut left = Machine::look()?.beyond(before);
        left.extend(processes(&format!("{MARK}={}", mark())));
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("the tests left behind: {}", left.join(", "));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Processes with this in their environment, in words.
fn processes(mark: &str) -> Vec<String> {
    let marked = |pid: &String| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let word = |pid: String| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("process {pid} ({})", name.trim_end())
    };
    let is_pid = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    names("/proc").into_iter().filter(is_pid).filter(marked).map(word).collect()
}

/// The names in a directory; one that does not exist holds none.
fn names(dir: impl AsRef<Path>) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process::Owned;

    #[test]
    fn only_what_is_new_is_a_leftover() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let machine = |namespaces: &[&str], interfaces: &[&str]| Machine {
            namespaces: set(namespaces),
            interfaces: set(interfaces),
            sockets: set(&[]),
            pins: set(&[]),
        };
        let before = machine(&["theirs"], &["lo"]);
        let after = machine(&["theirs", "ours"], &["lo", "nw0"]);
        assert_eq!(after.beyond(&before), ["network namespace ours", "interface nw0"]);
        assert_eq!(before.beyond(&after), [""; 0]);
    }

    #[test]
    fn a_process_is_known_by_its_mark() {
        let mark = format!("{}-unit", process::id());
        let child = Owned::spawn(Command::new("sleep").arg("60").env(MARK, &mark)).unwrap();
        let mark = format!("{MARK}={mark}");
        // It has begun to be `sleep`, but its environment may not be in its place yet.
        let deadline = Instant::now() + GRACE;
        while processes(&mark).is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(processes(&mark).len(), 1);
        drop(child);
        assert!(processes(&mark).is_empty());
    }
}
