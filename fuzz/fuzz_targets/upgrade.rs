//! Any bytes may come where a node asks by HTTP for the relay's protocol: more of them mend nothing,
//! and what may still become a request is short.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::relay::Head;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (head, more) = input;
    let before = Head::parse(head);
    assert!(before != Head::Partial || head.len() <= 4096);
    if before != Head::Partial && !more.is_empty() {
        assert_eq!(Head::parse(&[head, more].concat()), Head::Malformed);
    }
});
