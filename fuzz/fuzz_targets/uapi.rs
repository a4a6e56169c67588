//! Any text may be sent to the configuration socket, and a valid one to the engine.
#![no_main]

use dataplane_common::IndexMask;
use engine::pair::NOW;
use engine::{Engine, Output, Place, Settings};
use libfuzzer_sys::fuzz_target;
use proto::uapi::Request;

fuzz_target!(|text: &str| {
    let zone = |name: &str| (name == "eth0").then_some(2);
    if let Ok(Request::Set(set)) = Request::parse(text, &zone) {
        let place = Place::alone(IndexMask::new(1));
        let mut engine = Engine::new(Settings { mtu: 1420, seed: 1, place });
        engine.configure(&set, NOW, &mut Output::default()).expect("within limits");
        let _ = engine.peers();
    }
});
