//! Where the keys of a configuration file are.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

/// Where the keys of a file are. Empty for what came by flags and environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    file: PathBuf,
    lines: HashMap<String, usize>,
}

/// A key as an error names it: with its line, if it is in the file.
pub(super) struct Named<'a>(&'a str, Option<(usize, &'a Path)>);

impl Lines {
    /// The keys of this text.
    pub(super) fn of(file: &Path, text: &str) -> Self {
        let line = |at: usize| 1 + text.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count();
        let lines = DeTable::parse(text).map(|table| {
            let keys = table.get_ref().keys();
            keys.map(|key| (key.get_ref().to_string(), line(key.span().start))).collect()
        });
        Self { file: file.to_owned(), lines: lines.unwrap_or_default() }
    }

    /// This key's value, by its Rust name, is not the file's.
    pub(super) fn forget(&mut self, field: &str) {
        self.lines.remove(&field.replace('_', "-"));
    }

    pub(super) fn name<'a>(&'a self, key: &'a str) -> Named<'a> {
        Named(key, self.lines.get(key).map(|line| (*line, &*self.file)))
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some((line, file)) => write!(f, "line {line} of {}: `{}`", file.display(), self.0),
            None => write!(f, "`{}`", self.0),
        }
    }
}
