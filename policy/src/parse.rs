//! From text to a document, or to everything that is wrong with it.

use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{Array, Object, ObjectProp, StringLit, Value},
    common::Ranged as _,
    parse_to_ast,
};

use crate::{
    Action, Destination, Diagnostic, Document, MAX_DOCUMENT_BYTES, MAX_RULES, MAX_SELECTORS,
    Network, PortRange, Protocols, Rule,
    diagnostic::Locator,
    has_ports,
    selector::{self, Fault},
};

/// HuJSON: JSON with comments and trailing commas, and no other laxity.
const HUJSON: ParseOptions = ParseOptions {
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

/// Keys of the language that a later version will read.
const LATER_KEYS: &[&str] = &[
    "autoApprovers",
    "derpMap",
    "disableIPv4",
    "grants",
    "groups",
    "hosts",
    "ipsets",
    "nodeAttrs",
    "postures",
    "randomizeClientPort",
    "ssh",
    "sshTests",
    "srcPosture",
    "tagOwners",
    "tests",
];

pub(crate) fn document(text: &str) -> Result<Document, Vec<Diagnostic>> {
    let mut parser = Parser { locator: Locator::new(text), diagnostics: Vec::new() };
    let rules = parser.rules_of_text();
    if parser.diagnostics.is_empty() {
        Ok(Document { rules })
    } else {
        parser.diagnostics.sort();
        Err(parser.diagnostics)
    }
}

struct Parser<'a> {
    locator: Locator<'a>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Parser<'a> {
    fn refuse(&mut self, offset: usize, reason: impl Into<String>) {
        self.diagnostics.push(self.locator.diagnostic(offset, reason));
    }

    fn rules_of_text(&mut self) -> Vec<Rule> {
        let text = self.locator.text();
        if text.len() > MAX_DOCUMENT_BYTES {
            self.refuse(
                0,
                format!("the document has {} bytes, more than {MAX_DOCUMENT_BYTES}", text.len()),
            );
            return Vec::new();
        }
        match parse_to_ast(text, &CollectOptions::default(), &HUJSON) {
            Err(error) => {
                self.refuse(error.range().start, format!("not HuJSON: {}", error.kind()));
                Vec::new()
            }
            Ok(parsed) => match parsed.value {
                Some(Value::Object(object)) => self.top(&object),
                Some(other) => {
                    let reason = format!("expected an object, not {}", kind_of(&other));
                    self.refuse(other.start(), reason);
                    Vec::new()
                }
                None => {
                    self.refuse(
                        0,
                        "the document is empty: to deny everything, write { \"acls\": [] }",
                    );
                    Vec::new()
                }
            },
        }
    }

    fn top(&mut self, object: &Object<'a>) -> Vec<Rule> {
        let [acls] = self.fields(object, ["acls"]);
        let Some(acls) = acls else {
            self.refuse(
                object.range.start,
                "\"acls\" is missing: to deny everything, write \"acls\": []",
            );
            return Vec::new();
        };
        let Some(array) = self.array(acls) else {
            return Vec::new();
        };
        if array.elements.len() > MAX_RULES {
            self.refuse(
                array.range.start,
                format!("{} rules, more than {MAX_RULES}", array.elements.len()),
            );
            return Vec::new();
        }
        array
            .elements
            .iter()
            .filter_map(|element| match element {
                Value::Object(rule) => self.rule(rule),
                other => {
                    let reason = format!("expected a rule, an object, not {}", kind_of(other));
                    self.refuse(other.start(), reason);
                    None
                }
            })
            .collect()
    }

    /// The values of the known keys; every other key, and a key given twice, is refused.
    fn fields<'v, const N: usize>(
        &mut self,
        object: &'v Object<'a>,
        names: [&str; N],
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
                None if LATER_KEYS.contains(&name) => {
                    self.refuse(at, format!("{name:?} is not supported yet"));
                }
                None => self.refuse(at, format!("unknown key {name:?}")),
            }
        }
        fields
    }

    fn rule(&mut self, object: &Object<'a>) -> Option<Rule> {
        let before = self.diagnostics.len();
        let [action, src, dst, proto] = self.fields(object, ["action", "src", "dst", "proto"]);
        for (field, name) in [(action, "action"), (src, "src"), (dst, "dst")] {
            if field.is_none() {
                self.refuse(object.range.start, format!("the rule lacks {name:?}"));
            }
        }
        let action = action.and_then(|action| self.action(action));
        let protocols = match proto {
            Some(proto) => self.protocols(proto),
            None => Some(Protocols::Default),
        };
        let sources = src.map_or_else(Vec::new, |src| self.list(src, selector::network));
        let destinations =
            dst.map_or_else(Vec::new, |dst| self.list(dst, |text| destination(text, protocols)));
        (self.diagnostics.len() == before).then_some(Rule {
            line: self.locator.line(object.range.start),
            action: action?,
            sources,
            destinations,
            protocols: protocols?,
        })
    }

    fn action(&mut self, property: &ObjectProp<'a>) -> Option<Action> {
        let action = self.string(property)?;
        match &*action.value {
            "accept" => Some(Action::Accept),
            "deny" => Some(Action::Deny),
            other => {
                let reason = format!("the action {other:?} is neither \"accept\" nor \"deny\"");
                self.refuse(action.range.start, reason);
                None
            }
        }
    }

    fn protocols(&mut self, property: &ObjectProp<'a>) -> Option<Protocols> {
        let name = self.string(property)?;
        let protocols = Protocols::named(&name.value);
        if protocols.is_none() {
            let reason = format!(
                "unknown protocol {:?}: write \"tcp\", \"udp\", \"icmp\", \"ipv6-icmp\", \"sctp\" \
                 or a number from \"0\" to \"255\"",
                name.value
            );
            self.refuse(name.range.start, reason);
        }
        protocols
    }

    /// The strings of a list, each read by `read`.
    fn list<T>(
        &mut self,
        property: &ObjectProp<'a>,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Vec<T> {
        let Some(array) = self.array(property) else {
            return Vec::new();
        };
        let name = property.name.as_str();
        let count = array.elements.len();
        if count == 0 || count > MAX_SELECTORS {
            let reason = match count {
                0 => format!("{name:?} is empty: the rule would accept nothing"),
                _ => format!("{count} entries of {name:?}, more than {MAX_SELECTORS}"),
            };
            self.refuse(array.range.start, reason);
            return Vec::new();
        }
        let mut items = Vec::with_capacity(count);
        for element in &array.elements {
            match element {
                Value::StringLit(string) => match read(&string.value) {
                    Ok(item) => items.push(item),
                    Err(fault) => {
                        let at = self.offset_within(string, fault.at);
                        self.refuse(at, fault.reason);
                    }
                },
                other => {
                    let reason = format!("expected a string, not {}", kind_of(other));
                    self.refuse(other.start(), reason);
                }
            }
        }
        items
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

    fn string<'v>(&mut self, property: &'v ObjectProp<'a>) -> Option<&'v StringLit<'a>> {
        let string = property.value.as_string_lit();
        if string.is_none() {
            self.wrong_kind(property, "a string");
        }
        string
    }

    fn wrong_kind(&mut self, property: &ObjectProp<'a>, expected: &str) {
        let name = property.name.as_str();
        let reason = format!("{name:?} is {expected}, not {}", kind_of(&property.value));
        self.refuse(property.value.start(), reason);
    }
}

fn destination(text: &str, protocols: Option<Protocols>) -> Result<Destination, Fault> {
    let (network, ports): (Network, Vec<PortRange>) = selector::destination(text)?;
    if let Some(Protocols::One(number)) = protocols
        && !has_ports(number)
        && ports != [PortRange::ALL]
    {
        return Err(Fault {
            at: 0,
            reason: "the rule's protocol has no ports: write \"*\" for them".to_owned(),
        });
    }
    Ok(Destination { network, ports })
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
