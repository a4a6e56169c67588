//! Limits of the process: raised as far as they go, and looked at.

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside those of clients: sockets of our own, certificates, the runtime's.
const OTHERS: u64 = 256;

/// Raises the number of open files: a client on TLS is one.
pub(super) fn raise(clients: usize) -> Result<()> {
    let wanted = clients as u64 + OTHERS;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < wanted) {
        // Past the hard limit only a privileged process gets.
        let higher = Rlimit {
            current: Some(wanted),
            maximum: now.maximum.map(|maximum| maximum.max(wanted)),
        };
        if setrlimit(Resource::Nofile, higher).is_err() {
            let most = Rlimit { current: now.maximum, maximum: now.maximum };
            setrlimit(Resource::Nofile, most).context("raising the limit of open files")?;
        }
    }
    let got = getrlimit(Resource::Nofile).current;
    if let Some(got) = got.filter(|got| *got < wanted) {
        tracing::warn!(
            got,
            wanted,
            "too few open files for `clients` on TLS: raise LimitNOFILE of the service"
        );
    }
    Ok(())
}
