//! An authentic peer may seal anything: only whole IP packets come out.
#![no_main]

use engine::pair::NOW;
use fuzz::with_pair;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + engine::PADDING, 0);
    with_pair(|a, b| {
        a.engine.handle_packet(&mut buffer, packet.len(), NOW, &mut a.out);
        for datagram in a.take_datagrams() {
            b.receive(a.endpoint, &datagram);
        }
        let whole = engine::inner_addresses(packet).is_some();
        assert_eq!(b.out.packets.iter().count(), usize::from(whole));
        for out in b.out.packets.iter() {
            assert!(engine::inner_addresses(out).is_some() && packet.starts_with(out));
        }
    });
});
