//! Any datagram may come to the WireGuard port as a probe, from a stranger or from a peer that lies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::key::PrivateKey;
use proto::probe::{MAX_CALLED, MAX_PROBE, Probe, ProbeSecret, sender};

fuzz_target!(|input: ([u8; 24], &[u8])| {
    let (nonce, bytes) = input;
    let secret = |byte| ProbeSecret::new(&PrivateKey::from([byte; 32]));
    let (a, b) = (secret(1), secret(2));
    let sealers = a.with(b.public_key()).zip(b.with(a.public_key()));
    let (a, b) = sealers.expect("both keys are good");
    if sender(bytes).is_ok() {
        assert!(bytes.len() <= MAX_PROBE && b.open(bytes).is_err());
    }
    // What a peer seals may be anything too.
    let sealed = a.seal_bytes(bytes, nonce);
    if let Ok(probe) = b.open(&sealed) {
        assert_eq!(a.seal(&probe, nonce), sealed);
        if let Probe::Call(call) = probe {
            assert!(call.at.len() <= MAX_CALLED);
        }
    }
});
