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
        let Cut { characters, is_cut, .. } = Cut::new(Words::of(written), COLUMNS);
        characters.into_iter().chain(is_cut.then_some('…')).collect()
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

/// The line around a byte of a text, and how many columns of it stand before that byte. Of a long
/// line, what is near.
pub(crate) fn around(text: &str, at: usize) -> (String, usize) {
    let (before, after) = text.split_at(text.floor_char_boundary(at));
    let of_line = |c: &char| *c != '\n';
    let left = |most| Cut::new(before.chars().rev().take_while(of_line), most);
    let right = |most| Cut::new(after.chars().take_while(of_line), most);
    let left = left(COLUMNS - right(COLUMNS / 2).columns);
    let right = right(COLUMNS - left.columns);
    let mark = |cut: &Cut| if cut.is_cut { "…" } else { "" };
    let shown: String = left.characters.iter().rev().chain(&right.characters).collect();
    let line = format!("{}{shown}{}", mark(&left), mark(&right));
    (line.trim_end().to_owned(), left.columns + usize::from(left.is_cut))
}

/// The first characters of some, as they are shown.
struct Cut {
    characters: Vec<char>,
    columns: usize,
    /// Whether there are more.
    is_cut: bool,
}

impl Cut {
    fn new(characters: impl Iterator<Item = char>, most: usize) -> Self {
        let mut cut = Self { characters: Vec::new(), columns: 0, is_cut: false };
        for c in characters.map(shown) {
            cut.is_cut = cut.columns + width(c) > most || cut.characters.len() == COLUMNS;
            if cut.is_cut {
                break;
            }
            cut.columns += width(c);
            cut.characters.push(c);
        }
        cut
    }
}

/// A reason that quotes something long: its beginning and its end, which says what to write.
pub(crate) fn shortened(reason: String) -> String {
    const SIDE: usize = 200;
    let cut = |from: Option<(usize, char)>| from.map(|(at, _)| at);
    let head = cut(reason.char_indices().nth(SIDE));
    let tail = cut(reason.char_indices().rev().nth(SIDE - 1));
    match (head, tail) {
        (Some(head), Some(tail)) if head < tail => {
            format!("{} … {}", &reason[..head], &reason[tail..])
        }
        _ => reason,
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
    fn of_a_line_as_much_is_shown_as_fits_around_the_place() {
        let (a, b) = ("a".repeat(200), "b".repeat(200));
        let shown = |text: &str, caret: &str| {
            let (line, indent) = around(text, text.find(caret).unwrap());
            assert!(width_of(&line) <= 122, "{line}");
            let before = line.find(caret).unwrap();
            assert_eq!(width_of(&line[..before]), indent, "{line}");
            line
        };
        assert_eq!(shown("x\n\tcé漢 ^d\r\ny", "^"), " cé漢 ^d");
        assert_eq!(shown(&format!("^{b}"), "^"), format!("^{}…", &b[..119]));
        assert_eq!(shown(&format!("{a}^"), "^"), format!("…{}^", &a[..119]));
        assert_eq!(shown(&format!("{a}^{b}\n{b}"), "^"), format!("…{}^{}…", &a[..60], &b[..59]));
        assert_eq!(
            shown(&format!("{a}^{}", &b[..10]), "^"),
            format!("…{}^{}", &a[..109], &b[..10])
        );
        assert_eq!(shown(&format!("{}^", "漢".repeat(90)), "^"), format!("…{}^", "漢".repeat(59)));
        // Nor do marks without a width pile up.
        assert!(around(&"\u{301}".repeat(1000), 900).0.chars().count() < 250);
        assert_eq!(around("short", 99), ("short".to_owned(), 5));
    }

    fn width_of(text: &str) -> usize {
        text.chars().map(width).sum()
    }

    #[test]
    fn of_a_long_reason_both_ends_are_told() {
        let long = format!("\"{}\" is no user: write name@", "é".repeat(1000));
        let short = shortened(long.clone());
        assert!(short.starts_with("\"é") && short.ends_with("is no user: write name@"));
        assert_eq!(short.chars().count(), 403);
        let just = "é".repeat(400);
        assert_eq!((shortened(just.clone()), shortened("é".into())), (just, "é".into()));
    }

    #[test]
    fn nothing_drives_a_terminal() {
        assert_eq!(excerpt("\"\u{1b}[2J\u{202e}x\u{7f}\""), "\" [2J\u{fffd}x \"");
    }
}
