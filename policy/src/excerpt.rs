//! Pieces of a text as they are shown to a person: on one line, not too wide, and without what
//! would drive a terminal or show things in another order than they are written.

use unicode_width::UnicodeWidthChar as _;

/// The most columns that are shown of a rule or of a line.
const COLUMNS: usize = 120;

/// From which byte of its text to which something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Texts are shorter than four gigabytes: none is read that has more than
    /// [`crate::MAX_DOCUMENT_BYTES`].
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let byte = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: byte(start), end: byte(end) }
    }

    /// What is written there in the text that it was read from, on one line: without comments, a
    /// space for each gap, and cut off if it is long.
    #[must_use]
    pub fn excerpt(self, text: &str) -> String {
        let written = text.get(self.start as usize..self.end as usize).unwrap_or_default();
        let mut excerpt = String::new();
        let mut columns = 0;
        for c in Words::of(written).map(shown) {
            // Marks without a width are not for free: one could pile up any number of them.
            columns += width(c).max(1);
            if columns > COLUMNS {
                excerpt.push('…');
                break;
            }
            excerpt.push(c);
        }
        excerpt
    }
}

/// The characters of HuJSON, with one space for each gap and comment between its words.
struct Words<'a> {
    rest: std::str::Chars<'a>,
    in_string: bool,
    escaped: bool,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        Self { rest: text.chars(), in_string: false, escaped: false }
    }

    /// Skips whitespace and comments; whether there were any.
    fn skip_gap(&mut self) -> bool {
        let before = self.rest.as_str();
        loop {
            let rest = self.rest.as_str().trim_start();
            let rest = if let Some(comment) = rest.strip_prefix("//") {
                comment.split_once('\n').map_or("", |(_, rest)| rest)
            } else if let Some(comment) = rest.strip_prefix("/*") {
                comment.split_once("*/").map_or("", |(_, rest)| rest)
            } else {
                self.rest = rest.chars();
                return rest.len() < before.len();
            };
            self.rest = rest.chars();
        }
    }
}

impl Iterator for Words<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if !self.in_string && self.skip_gap() {
            return Some(' ');
        }
        let c = self.rest.next()?;
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' if self.in_string => self.escaped = true,
            '"' => self.in_string = !self.in_string,
            _ => {}
        }
        Some(c)
    }
}

/// In place of a character that is not seen: a space if it moves the cursor, else a mark.
fn shown(c: char) -> char {
    match c {
        _ if c.is_control() => ' ',
        _ if is_unseen(c) => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

/// Whether it shows nothing, or says in which order others are shown.
pub(crate) const fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

fn width(c: char) -> usize {
    c.width().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str) -> String {
        Span::new(0, text.len()).excerpt(text)
    }

    #[test]
    fn a_rule_of_several_lines_is_shown_on_one() {
        let rule = "{\n\t\"src\": [\r\n    // nobody \" else\n \"a //b\\\" @x\"], /* and\n*/ \"dst\": [ ]\n}";
        assert_eq!(excerpt(rule), r#"{ "src": [ "a //b\" @x"], "dst": [ ] }"#);
        assert_eq!(excerpt("{ // never ends"), "{ ");
    }

    #[test]
    fn what_is_long_is_cut_off_by_columns() {
        assert_eq!(excerpt(&"x".repeat(120)), "x".repeat(120));
        assert_eq!(excerpt(&"x".repeat(121)), format!("{}…", "x".repeat(120)));
        assert_eq!(excerpt(&"漢".repeat(61)), format!("{}…", "漢".repeat(60)));
        assert_eq!(excerpt(&"\u{301}".repeat(121)), format!("{}…", "\u{301}".repeat(120)));
    }

    #[test]
    fn nothing_drives_a_terminal() {
        assert_eq!(excerpt("\"\u{1b}[2J\u{202e}x\u{7f}\""), "\" [2J\u{fffd}x \"");
    }
}
