//! Any bytes may be read from the interface, in any buffer.
#![no_main]

use engine::pair::NOW;
use fuzz::with_pair;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (usize, Vec<u8>)| {
    let (len, mut buffer) = input;
    with_pair(|a, _| a.engine.handle_packet(&mut buffer, len, NOW, &mut a.out));
});
