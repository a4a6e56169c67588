//! An answer of a STUN server, or what came in its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::stun;

fuzz_target!(|data: &[u8]| {
    let transaction = data.get(8..20).and_then(|id| id.try_into().ok()).unwrap_or([0; 12]);
    if stun::answer(data, &transaction).is_some() {
        assert!(stun::is_answer(data));
    }
});
