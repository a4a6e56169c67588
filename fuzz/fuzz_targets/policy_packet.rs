//! Any bytes may be judged by the policy.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let _ = dataplane_common::parse(packet, 0);
});
