//! Any datagram may come to a relay's port for STUN: what is answered is a whole binding request,
//! and the answer is bounded.
#![no_main]

use dataplane_common::{Address, stun};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (before, datagram) = input;
    // The payload stands behind headers of any length.
    let mut packet = vec![0; before.into()];
    packet.extend_from_slice(datagram);
    let length = u32::try_from(datagram.len()).expect("short");
    let Some(request) = stun::parse(packet.as_slice(), before.into(), length) else { return };
    assert!((stun::HEADER..=stun::LONGEST_REQUEST).contains(&length));
    assert_eq!(request.transaction, datagram[8..20]);
    for source in [Address::from_v4([192, 0, 2, 1]), Address::from_bytes([7; 16])] {
        let mut answer = [0; stun::LONGEST_RESPONSE as usize];
        assert!(stun::write_response(&mut answer[..], 0, &request, &source, 4242));
        assert!(
            u32::from(stun::response_length(&request, source.is_v4())) <= stun::LONGEST_RESPONSE
        );
        assert_eq!(answer[8..20], request.transaction);
    }
});
