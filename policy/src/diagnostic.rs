//! What is wrong with a document, and where.

use std::fmt;

/// One error of a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The line, from one.
    pub line: u32,
    /// The column in characters, from one.
    pub column: u32,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.reason)
    }
}

/// The diagnostics of a file for a person to read: each as `FILE:LINE:COLUMN: reason`, with the
/// line and a caret under the place.
#[must_use]
pub fn render(file: &str, text: &str, diagnostics: &[Diagnostic]) -> String {
    use fmt::Write as _;
    let lines: Vec<&str> = text.lines().collect();
    let mut rendered = String::new();
    for diagnostic in diagnostics {
        let index = diagnostic.line.saturating_sub(1) as usize;
        let indent = diagnostic.column.saturating_sub(1) as usize;
        // Each control character becomes one space: the caret stays in place, and a file cannot
        // drive the reader's terminal.
        let source: String = lines
            .get(index)
            .unwrap_or(&"")
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(rendered, "{file}:{diagnostic}");
        let _ = writeln!(rendered, "  {source}");
        let _ = writeln!(rendered, "  {}^", " ".repeat(indent));
    }
    rendered
}

/// Places errors in a text.
pub(crate) struct Locator<'a> {
    text: &'a str,
    /// The offset of each line's first byte.
    starts: Vec<usize>,
}

impl<'a> Locator<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn line(&self, offset: usize) -> u32 {
        let line = self.starts.partition_point(|&start| start <= offset);
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    pub(crate) fn diagnostic(&self, offset: usize, reason: impl Into<String>) -> Diagnostic {
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied();
        let before = self.text.get(start.unwrap_or(0)..offset).unwrap_or("");
        let column = before.chars().count() + 1;
        Diagnostic {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            reason: reason.into(),
        }
    }
}
