//! What is wrong with a document, and where.

use std::{fmt, ops::Deref};

use crate::excerpt::around;

/// The most errors of a file that are told; the others are counted.
pub const MAX_DIAGNOSTICS: usize = 100;

/// One error of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The line, from one.
    pub line: u32,
    /// The column in characters, from one.
    pub column: u32,
    /// What is wrong, and what to write instead.
    pub reason: String,
    /// The byte of the text at which it is wrong.
    pub(crate) at: usize,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.reason)
    }
}

/// The errors of a document in its order, one at least: the first of them, up to
/// [`MAX_DIAGNOSTICS`], and how many more there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    told: Vec<Diagnostic>,
    more: usize,
}

impl Diagnostics {
    pub(crate) const fn new(told: Vec<Diagnostic>, more: usize) -> Self {
        Self { told, more }
    }

    /// How many errors there are beside those that are told.
    #[must_use]
    pub const fn more(&self) -> usize {
        self.more
    }

    /// How many errors there are.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.told.len() + self.more
    }
}

impl Deref for Diagnostics {
    type Target = [Diagnostic];

    fn deref(&self) -> &[Diagnostic] {
        &self.told
    }
}

/// The diagnostics of a file for a person to read: each as `FILE:LINE:COLUMN: reason`, with the
/// line, as much of it as is worth while, and a caret under the place.
#[must_use]
pub fn render(file: &str, text: &str, diagnostics: &Diagnostics) -> String {
    render_each(file, text, diagnostics).concat()
}

/// As [`render`], one by one.
#[must_use]
pub fn render_each(file: &str, text: &str, diagnostics: &Diagnostics) -> Vec<String> {
    let one = |diagnostic: &Diagnostic| {
        let (line, indent) = around(text, diagnostic.at);
        format!("{file}:{diagnostic}\n  {line}\n  {}^\n", " ".repeat(indent))
    };
    let more = match diagnostics.more {
        0 => None,
        1 => Some("and 1 more error\n".to_owned()),
        more => Some(format!("and {more} more errors\n")),
    };
    diagnostics.iter().map(one).chain(more).collect()
}
