//! Any text may be given as a policy; what is accepted compiles to the same meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::{Document, compile};

fuzz_target!(|text: &str| {
    match Document::parse(text) {
        Ok(document) => {
            if let Ok(compiled) = compile(&document) {
                assert_eq!(compiled.rule_count(), document.rules().len());
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            let _ = policy::render("fuzz", text, &errors);
        }
    }
});
