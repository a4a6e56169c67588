//! No text makes a parser panic, and every error has a place in it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use policy::{Diagnostics, Document, Nodes};
use proptest::{collection::vec, prelude::*, sample::select};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn no_shuffled_policy_makes_the_parser_panic(
        pieces in vec(select(vec![
            "{", "}", "[", "]", ":", ",", "\"acls\"", "\"action\"", "\"accept\"", "\"src\"",
            "\"dst\"", "\"proto\"", "\"tcp\"", "\"*\"", "\"10.0.0.1:22\"", "\"[fd00::\"", "\"]:\"",
            "\"::ffff:1.2.3.4/0\"", "\"é/\"", "\"\\u00e9:1\"", "// c\n", "/*", "*/", "null", "-1",
            "\"1.2.3.4/33:0-65536\"", "\n", "é", "\"", "\\", "\"groups\"", "\"group:é\"", "\"tests\"",
            "\"a@b\"", "\"hosts\"", "\"1.1.1.1-::1\"", "\"grants\"", "\"ip\"", "\"autogroup:self:1\"",
            "\"nodes\"", "\"name\"", "\"addresses\"", "\"user\"", "\"tags\"", "\"tag:a\"",
        ]), 0..40),
    ) {
        check(&pieces.concat());
    }

    /// Beside comments and trailing commas, what is read is JSON.
    #[test]
    fn what_is_read_is_json(
        strange in prop_oneof![any::<char>(), select(vec!['\t', '\r', '\n', '\u{b}', '\u{c}', '\u{a0}', '\u{2028}'])],
        at in any::<prop::sample::Index>(),
    ) {
        let json = r#"{ "hosts": { "a": "1.1.1.1" }, "acls": [ { "action": "accept", "src": ["é@x"], "dst": ["*:*"] } ] }"#;
        let places: Vec<usize> = json.char_indices().map(|(at, _)| at).collect();
        let mut text = json.to_owned();
        text.insert(places[at.index(places.len())], strange);
        if strange != ',' && Document::parse(&text).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn no_selector_makes_the_parser_panic(source in any::<String>(), to in "[\\[\\]:/*0-9a-f,.-]{0,30}") {
        let text = format!(
            "{{\"acls\":[{{\"action\":\"accept\",\"src\":[{source:?}],\"dst\":[{to:?}]}}]}}"
        );
        check(&text);
    }
}

fn check(text: &str) {
    check_errors(text, Document::parse(text).err());
    check_errors(text, Nodes::parse(text).err());
}

/// Errors lie within the text, and can be shown.
fn check_errors(text: &str, errors: Option<Diagnostics>) {
    let Some(errors) = errors else { return };
    assert!(!errors.is_empty());
    let lines = u32::try_from(text.matches('\n').count()).unwrap() + 1;
    assert!(errors.iter().all(|e| (1..=lines).contains(&e.line) && e.column >= 1));
    assert!(!policy::render("f", text, &errors).is_empty());
}
