//! Any bytes may come on a stream or in a datagram between relays: what is read as a frame is written
//! as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::mesh::MeshFrame;
use proto::relay::{Framing, split_frame};

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let mut rest = bytes;
    while let Ok(Some((frame, taken))) = split_frame(rest, Framing::Mesh) {
        read(frame);
        rest = &rest[taken..];
    }
});

fn read(frame: &[u8]) {
    if let Ok(read) = MeshFrame::parse(frame) {
        let mut written = Vec::new();
        read.write(&mut written);
        assert_eq!(written, frame);
    }
}
