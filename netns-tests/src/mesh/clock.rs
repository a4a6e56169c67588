//! A wall clock that only some programs see, by libfaketime.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Directory;

/// See the module. Programs that were started before it was set see the machine's.
#[derive(Debug)]
pub(super) struct Clock {
    file: PathBuf,
    next: PathBuf,
}

impl Clock {
    /// One of several in a directory, by name.
    pub(super) fn new(directory: &Directory, name: &str) -> Self {
        let file = |end: &str| directory.file(&format!("{name}.clock{end}"));
        Self { file: file(""), next: file(".next") }
    }

    /// Sets it so far ahead of the machine's, or behind: `+2d`, `-1h`.
    pub(super) fn set(&self, ahead: &str) -> Result<()> {
        std::fs::write(&self.next, format!("{ahead}\n")).context("setting a clock")?;
        std::fs::rename(&self.next, &self.file).context("setting a clock")
    }

    /// Has a program see it, if it was set.
    pub(super) fn show(&self, command: &mut Command) {
        if self.file.exists() {
            command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1");
            command.env("FAKETIME_TIMESTAMP_FILE", &self.file);
            for setting in ["FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC"] {
                command.env(setting, "1");
            }
        }
    }
}
