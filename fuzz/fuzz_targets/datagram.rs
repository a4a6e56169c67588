//! Anything may arrive on the WireGuard port: nothing unauthentic comes out of it.
#![no_main]

use engine::pair::NOW;
use fuzz::with_pair;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagrams: Vec<&[u8]>| {
    with_pair(|a, b| {
        for datagram in datagrams {
            b.receive(a.endpoint, datagram);
        }
        assert!(b.out.packets.is_empty());
    });
});
