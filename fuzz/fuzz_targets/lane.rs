//! Any datagram may come to a relay's port for lanes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::lane::LaneMessage;

fuzz_target!(|datagram: &[u8]| {
    if let Some(message) = LaneMessage::parse(datagram) {
        let mut written = Vec::new();
        message.write(&mut written);
        assert_eq!(written.len(), datagram.len());
        assert_eq!(LaneMessage::parse(&written), Some(message));
    }
});
