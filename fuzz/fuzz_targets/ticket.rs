//! Anybody may show anything as a ticket: what is read is what is written, and nothing but what the
//! control key signed is verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::ticket::{SignedTicket, SigningKey};

fuzz_target!(|bytes: &[u8]| {
    let Ok(ticket) = SignedTicket::parse(bytes) else { return };
    assert_eq!(ticket.as_bytes().as_slice(), bytes);
    let key = SigningKey::from_seed(&[7; 32].into()).expect("a key");
    let verified = ticket.verify(&key.verifying_key());
    let right = ticket.claims().sign(ticket.signer(), &key);
    assert_eq!(verified.is_ok(), right == ticket);
});
