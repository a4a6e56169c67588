//! Reading HuJSON so that every error has its place, and one error does not hide the others.

use std::collections::BTreeSet;

use jsonc_parser::{
    ast::{Array, Object, ObjectProp, StringLit, Value},
    common::Ranged as _,
};

use crate::{Diagnostics, MAX_DIAGNOSTICS, Span, excerpt::shortened, hujson, locator::Locator};

/// What is wrong with a string or a text, and at which byte of it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) reason: String,
}

/// A [`Fault`] in place of what should have been read.
pub(crate) fn fault<T>(at: usize, reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, reason: reason.into() })
}

/// A text that is being read, and what was found wrong with it so far.
pub(crate) struct Reader<'a> {
    locator: Locator<'a>,
    /// Those that come first in the text, and some more.
    faults: Vec<Fault>,
    /// How many there are.
    found: usize,
}

impl<'a> Reader<'a> {
    /// Reads the one object of a text; nothing if there is none, which is said then.
    pub(crate) fn open(
        text: &'a str,
        most_bytes: usize,
        if_empty: &str,
    ) -> (Self, Option<Object<'a>>) {
        let mut reader = Self { locator: Locator::new(text), faults: Vec::new(), found: 0 };
        if text.len() > most_bytes {
            reader.refuse(0, format!("the file has {} bytes, more than {most_bytes}", text.len()));
            return (reader, None);
        }
        let value = match hujson::parse(text) {
            Ok(value) => value,
            Err(faults) => {
                faults.into_iter().for_each(|Fault { at, reason }| reader.refuse(at, reason));
                return (reader, None);
            }
        };
        match value {
            Some(Value::Object(object)) => return (reader, Some(object)),
            Some(other) => {
                let reason = format!("expected an object, not {}", kind_of(&other));
                reader.refuse(other.start(), reason);
            }
            None => reader.refuse(0, if_empty),
        }
        (reader, None)
    }

    /// The value, or all that is wrong with the text, in its order.
    pub(crate) fn close<T>(mut self, value: T) -> Result<T, Diagnostics> {
        if self.found == 0 {
            return Ok(value);
        }
        self.keep_first();
        let more = self.found - self.faults.len();
        Err(Diagnostics::new(self.locator.diagnostics(self.faults), more))
    }

    pub(crate) fn refuse(&mut self, offset: usize, reason: impl Into<String>) {
        self.found += 1;
        self.faults.push(Fault { at: offset, reason: shortened(reason.into()) });
        // Sections are not read in the order of the text, so the first may come last.
        if self.faults.len() == 2 * MAX_DIAGNOSTICS {
            self.keep_first();
        }
    }

    fn keep_first(&mut self) {
        self.faults.sort();
        self.faults.truncate(MAX_DIAGNOSTICS);
    }

    /// How many errors there are so far.
    pub(crate) const fn faults(&self) -> usize {
        self.found
    }

    pub(crate) fn line(&self, offset: usize) -> u32 {
        self.locator.line(offset)
    }

    /// The line on which an object begins, and where all of it is.
    pub(crate) fn place(&self, object: &Object<'a>) -> (u32, Span) {
        let range = object.range;
        (self.line(range.start), Span::new(range.start, range.end))
    }

    /// The values of the known keys; every other key, and a key given twice, is refused. `refused`
    /// says why of those that the language has and we do not. A key in other letters is refused too,
    /// but read: what is wrong with its value is to be told at once.
    pub(crate) fn fields<'v, const N: usize>(
        &mut self,
        object: &'v Object<'a>,
        names: [&str; N],
        refused: &[(&str, &str)],
    ) -> [Option<&'v ObjectProp<'a>>; N] {
        let mut fields = [None; N];
        for property in &object.properties {
            let name = property.name.as_str();
            let at = property.name.start();
            match names.iter().position(|known| *known == name) {
                Some(index) if fields[index].is_some() => {
                    self.refuse(at, format!("{name:?} is given twice"));
                }
                Some(index) => fields[index] = Some(property),
                None => {
                    let is = |known: &str| known.eq_ignore_ascii_case(name);
                    let why = refused.iter().find(|(known, _)| is(known));
                    let reason = match (names.iter().position(|known| is(known)), why) {
                        (Some(index), _) => {
                            fields[index].get_or_insert(property);
                            format!("unknown key {name:?}: write {:?}", names[index])
                        }
                        (None, Some((_, why))) => format!("{name:?} is not supported: {why}"),
                        (None, None) => format!("unknown key {name:?}"),
                    };
                    self.refuse(at, reason);
                }
            }
        }
        fields
    }

    /// The properties of an object whose keys are names that the user chose; no name twice.
    pub(crate) fn named<'v>(&mut self, property: &'v ObjectProp<'a>) -> Vec<&'v ObjectProp<'a>> {
        let Some(object) = property.value.as_object() else {
            self.wrong_kind(property, "an object");
            return Vec::new();
        };
        let mut seen = BTreeSet::new();
        let mut named = Vec::with_capacity(object.properties.len());
        for property in &object.properties {
            let name = property.name.as_str();
            if seen.insert(name) {
                named.push(property);
            } else {
                self.refuse(property.name.start(), format!("{name:?} is defined twice"));
            }
        }
        named
    }

    /// The objects of a list, of which there are `most` at most.
    pub(crate) fn objects<'v>(
        &mut self,
        property: &'v ObjectProp<'a>,
        what: &str,
        most: usize,
    ) -> Vec<&'v Object<'a>> {
        let Some(array) = self.array(property) else { return Vec::new() };
        if array.elements.len() > most {
            let reason = format!("{} entries, more than {most}", array.elements.len());
            self.refuse(array.range.start, reason);
            return Vec::new();
        }
        let mut objects = Vec::with_capacity(array.elements.len());
        for element in &array.elements {
            match element {
                Value::Object(object) => objects.push(object),
                other => {
                    let reason = format!("expected {what}, an object, not {}", kind_of(other));
                    self.refuse(other.start(), reason);
                }
            }
        }
        objects
    }

    /// The strings of a list, each read by `read` and with its place.
    pub(crate) fn strings<T>(
        &mut self,
        property: &ObjectProp<'a>,
        most: usize,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<(T, usize)> {
        let Some(array) = self.array(property) else { return Vec::new() };
        let count = array.elements.len();
        if count > most {
            let reason =
                format!("{count} entries of {:?}, more than {most}", property.name.as_str());
            self.refuse(array.range.start, reason);
            return Vec::new();
        }
        let mut items = Vec::with_capacity(count);
        for element in &array.elements {
            match element {
                Value::StringLit(string) => {
                    let item = self.read(string, &read);
                    let at = self.offset_within(string, 0);
                    items.extend(item.map(|item| (item, at)));
                }
                other => {
                    let reason = format!("expected a string, not {}", kind_of(other));
                    self.refuse(other.start(), reason);
                }
            }
        }
        items
    }

    /// As [`Self::strings`], for a list that says nothing if it is empty.
    pub(crate) fn some_strings<T>(
        &mut self,
        property: &ObjectProp<'a>,
        most: usize,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<(T, usize)> {
        if let Some(array) = property.value.as_array()
            && array.elements.is_empty()
        {
            let reason = format!("{:?} is empty: it would match nothing", property.name.as_str());
            self.refuse(array.range.start, reason);
        }
        self.strings(property, most, read)
    }

    /// The one string of a property, read by `read`.
    pub(crate) fn string<T>(
        &mut self,
        property: &ObjectProp<'a>,
        read: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let Some(string) = property.value.as_string_lit() else {
            self.wrong_kind(property, "a string");
            return None;
        };
        self.read(string, read)
    }

    fn read<T>(
        &mut self,
        string: &StringLit<'a>,
        read: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        match read(&string.value) {
            Ok(item) => Some(item),
            Err(fault) => {
                let at = self.offset_within(string, fault.at);
                self.refuse(at, fault.reason);
                None
            }
        }
    }

    /// Where a byte of a string's value is in the text. With escapes that is hard to tell, and the
    /// string's beginning has to do.
    fn offset_within(&self, string: &StringLit<'a>, at: usize) -> usize {
        let start = string.range.start;
        let written = self.locator.text().get(start + 1..string.range.end - 1);
        if written == Some(&*string.value) { start + 1 + at } else { start }
    }

    fn array<'v>(&mut self, property: &'v ObjectProp<'a>) -> Option<&'v Array<'a>> {
        let array = property.value.as_array();
        if array.is_none() {
            self.wrong_kind(property, "a list");
        }
        array
    }

    fn wrong_kind(&mut self, property: &ObjectProp<'a>, expected: &str) {
        let name = property.name.as_str();
        let reason = format!("{name:?} is {expected}, not {}", kind_of(&property.value));
        self.refuse(property.value.start(), reason);
    }
}

const fn kind_of(value: &Value<'_>) -> &'static str {
    match value {
        Value::StringLit(_) => "a string",
        Value::NumberLit(_) => "a number",
        Value::BooleanLit(_) => "a boolean",
        Value::Object(_) => "an object",
        Value::Array(_) => "a list",
        Value::NullKeyword(_) => "null",
    }
}
