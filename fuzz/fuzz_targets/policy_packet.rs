//! Any bytes may be judged by the policy, in either direction, after any others.
#![no_main]

use dataplane::{Direction, Model, Nanos};
use libfuzzer_sys::fuzz_target;
use policy::Document;

const POLICY: &str = r#"{ "acls": [
    { "action": "accept", "src": ["10.0.0.0/8", "fd00::/8"], "dst": ["*:22,53,80-90"] },
    { "action": "accept", "src": ["*"], "dst": ["10.0.0.2:*", "[fd00::2]:*"], "proto": "icmp" },
] }"#;

fuzz_target!(|packets: Vec<&[u8]>| {
    let document = Document::parse(POLICY).expect("the policy is right");
    let mut model = Model::new(&policy::compile(&document).expect("the policy is small"));
    for (second, packet) in (0..).zip(packets) {
        for direction in [Direction::In, Direction::Out] {
            model.judge(direction, packet, Nanos::from_secs(second));
        }
    }
});
