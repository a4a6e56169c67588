//! Any bytes may come on a relay's stream: what is read as a frame is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::relay::{ClientFrame, Framing, RelayFrame, split_frame};

fuzz_target!(|stream: &[u8]| {
    let mut rest = stream;
    while let Ok(Some((frame, taken))) = split_frame(rest, Framing::Admitted) {
        let mut written = Vec::new();
        if let Ok(read) = ClientFrame::parse(frame) {
            read.write(&mut written);
            assert_eq!(written, frame);
        }
        written.clear();
        if let Ok(read) = RelayFrame::parse(frame) {
            read.write(&mut written);
            assert_eq!(RelayFrame::parse(&written), Ok(read));
        }
        rest = &rest[taken..];
    }
});
