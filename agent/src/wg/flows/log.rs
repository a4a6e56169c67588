//! The flow log: records as lines of JSON, written by a thread of its own, for a slow disk must not
//! hold up the daemon.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use anyhow::Context as _;

use super::record::Record;

/// Records that wait for the disk. What comes beyond is lost, and counted.
const WAITING_LIMIT: usize = 16_384;

/// Where records go.
pub(super) struct FlowLog {
    lines: SyncSender<Line>,
    lost: u64,
}

enum Line {
    Record(Arc<Record>),
    /// The file was moved away, as `logrotate` does: begin another.
    Reopen,
}

impl FlowLog {
    /// Appends to this file, which only its owner can read if it is made now.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = open(path)?;
        let (lines, inbox) = sync_channel(WAITING_LIMIT);
        let path = path.to_owned();
        thread::Builder::new()
            .name("nearwire-flows".into())
            .spawn(move || write(&path, file, &inbox))
            .context("cannot start the thread of the flow log")?;
        Ok(Self { lines, lost: 0 })
    }

    pub(super) fn record(&mut self, record: &Arc<Record>) {
        match self.lines.try_send(Line::Record(Arc::clone(record))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.lost += 1,
        }
    }

    pub(super) fn reopen(&self) {
        // Full: then it writes, and the file is opened anew another time.
        let _ = self.lines.try_send(Line::Reopen);
    }

    /// Records that did not get into the file.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write the flow log {}", path.display()))
}

/// Writes until nobody sends any more. An error of the disk is said once, until it goes away.
fn write(path: &PathBuf, file: File, inbox: &Receiver<Line>) {
    let mut file = BufWriter::new(file);
    let mut failing = false;
    while let Ok(first) = inbox.recv() {
        let mut written = Ok(());
        for line in std::iter::once(first).chain(inbox.try_iter()) {
            match line {
                Line::Record(record) => {
                    let result = serde_json::to_writer(&mut file, &*record)
                        .map_err(std::io::Error::from)
                        .and_then(|()| file.write_all(b"\n"));
                    written = written.and(result);
                }
                Line::Reopen => match open(path) {
                    Ok(opened) => file = BufWriter::new(opened),
                    Err(error) => tracing::error!("{error:#}"),
                },
            }
        }
        let written = written.and(file.flush());
        if let Err(error) = &written
            && !failing
        {
            tracing::error!(%error, file = %path.display(), "flow records are lost");
        }
        failing = written.is_err();
    }
}
