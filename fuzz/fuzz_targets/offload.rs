//! Any bytes may be read from an interface with offload, behind any header.
#![no_main]

use engine::offload::{VNET_HEADER_LEN, VnetHeader};
use engine::pair::NOW;
use fuzz::with_pair;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|read: &[u8]| {
    let Some(vnet) = read.first_chunk().and_then(VnetHeader::parse) else { return };
    let mut buffer = read[VNET_HEADER_LEN..].to_vec();
    let len = buffer.len();
    buffer.resize(len + engine::PADDING, 0);
    with_pair(|a, _| a.engine.handle_offloaded(&vnet, &mut buffer, len, NOW, &mut a.out));
});
