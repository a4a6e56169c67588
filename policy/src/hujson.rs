//! HuJSON: JSON with comments and trailing commas, and no other laxity.
//!
//! What the parser takes beyond that is refused before it is asked: a text must mean the same to every
//! reader of the format, and to a person who looks at it.

use jsonc_parser::{CollectOptions, ParseOptions, ast::Value, parse_to_ast};

use crate::reader::Fault;

const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The value of a text, if it has one; or why it is no HuJSON: what is between its words, or else the
/// first thing at which the parser stops.
pub(crate) fn parse(text: &str) -> Result<Option<Value<'_>>, Vec<Fault>> {
    let strange = strange_characters(text);
    if !strange.is_empty() {
        return Err(strange);
    }
    parse_to_ast(text, &CollectOptions::default(), &OPTIONS).map(|parsed| parsed.value).map_err(
        |error| {
            let reason = format!("not HuJSON: {}", error.kind());
            vec![Fault { at: error.range().start, reason }]
        },
    )
}

/// Of faults that follow each other, the first few are enough.
const MOST: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    String,
    LineComment,
    BlockComment,
}

/// Characters that are not allowed where they stand.
fn strange_characters(text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut within = Within::Nothing;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let next = characters.peek().map(|&(_, next)| next);
        if let Some(reason) = strange(c, next, at, within) {
            faults.push(Fault { at, reason });
            // Behind a string that is not closed, strings are what is between them.
            if within == Within::String && c == '\n' || faults.len() == MOST {
                break;
            }
        }
        let before = within;
        within = match (within, c, next) {
            (Within::Nothing, '"', _) => Within::String,
            (Within::Nothing, '/', Some('/')) => Within::LineComment,
            (Within::Nothing, '/', Some('*')) => Within::BlockComment,
            (Within::String, '"', _) | (Within::LineComment, '\n', _) => Within::Nothing,
            (Within::BlockComment, '*', Some('/')) => Within::Nothing,
            (within, _, _) => within,
        };
        // Two characters that are one word: the second is not looked at again.
        let escape = before == Within::String && c == '\\' && matches!(next, Some('"' | '\\'));
        let mark = before != within && matches!(c, '/' | '*');
        if escape || mark {
            characters.next();
        }
    }
    faults
}

/// Why a character is not allowed there.
fn strange(c: char, next: Option<char>, at: usize, within: Within) -> Option<String> {
    let in_string = within == Within::String;
    let said = match c {
        '\n' if in_string => {
            "a string ends on the line on which it begins: close it, or write \\n".to_owned()
        }
        '\t' if in_string => "a tab within a string: write \\t".to_owned(),
        '\n' | '\t' => return None,
        '\r' if next == Some('\n') => return None,
        '\r' => {
            "a carriage return alone ends a line for some readers and not for others: end lines \
                 by a line feed"
                .to_owned()
        }
        '\u{2028}' | '\u{2029}' if !in_string => {
            format!(
                "{c:?} ends a line for some readers and not for others: end lines by a line feed"
            )
        }
        '\u{feff}' if at == 0 => {
            "the file begins with a byte order mark: save it as UTF-8 without one".to_owned()
        }
        '\0' => "a NUL: if the file is UTF-16, save it as UTF-8".to_owned(),
        _ if c.is_control() => format!("the control character {c:?} cannot stand here: remove it"),
        ' ' => return None,
        _ if within == Within::Nothing && c.is_whitespace() => {
            format!("{c:?} is no space of JSON: write a plain one")
        }
        _ => return None,
    };
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_characters_are_told_by_place() {
        for (text, told) in [
            ("{}// off:\r {}", vec![(9, "a carriage return alone")]),
            ("{}\r{}\r\n", vec![(2, "a carriage return alone")]),
            ("/* \u{1b}[2J */\u{b}", vec![(3, "'\\u{1b}' cannot"), (10, "'\\u{b}' cannot")]),
            ("[\u{a0}\"\u{a0}\", //\u{a0}\n\u{3000}]", vec![(1, "no space"), (14, "no space")]),
            ("[\"\\\"\t\\\\\",\t]", vec![(4, "write \\t")]),
            ("[\"a\n, \"b\"\n, \"c\"]", vec![(3, "close it")]),
            ("// \u{2028}{}", vec![(3, "'\\u{2028}' ends a line")]),
            ("[\"\u{2028}\"]", vec![]),
            ("/*/ \" */ [\"/*\", \"//\"] // \"\n\t\r\n", vec![]),
            ("\u{feff}{}", vec![(0, "without one")]),
        ] {
            let faults = strange_characters(text);
            assert_eq!(faults.len(), told.len(), "{text:?}: {faults:?}");
            for (fault, (at, reason)) in faults.iter().zip(told) {
                assert!(fault.at == at && fault.reason.contains(reason), "{text:?}: {fault:?}");
            }
        }
        assert_eq!(strange_characters(&"\u{b}".repeat(99)).len(), MOST);
    }
}
