//! Any datagram may come to a relay's port for STUN: what is answered is a whole binding request, the
//! answer is bounded, and user space reads as the kernel does what that reads.
#![no_main]

use dataplane_common::{Address, stun};
use libfuzzer_sys::fuzz_target;
use proto::stun::{LONGEST_QUESTION, Question};

const ASKERS: [&str; 2] = ["192.0.2.1:4242", "[2001:db8::7]:4242"];

fuzz_target!(|input: (u8, &[u8])| {
    let (before, datagram) = input;
    let read = Question::parse(datagram);
    if let Some(question) = &read {
        assert!(datagram.len() <= LONGEST_QUESTION);
        let two = ASKERS.map(|at| at.parse().expect("an address"));
        for asker in two {
            // Two more addresses, and at most what a refusal adds to what it refuses.
            assert!(question.answer(asker, Some(two)).len() <= datagram.len() + 72);
            assert!(question.refusal(false).len() <= datagram.len() + 12);
        }
    }
    // The payload stands behind headers of any length.
    let mut packet = vec![0; before.into()];
    packet.extend_from_slice(datagram);
    let length = u32::try_from(datagram.len()).expect("short");
    let Some(request) = stun::parse(packet.as_slice(), before.into(), length) else { return };
    assert!((stun::HEADER..=stun::LONGEST_REQUEST).contains(&length));
    assert_eq!(request.transaction, datagram[8..20]);
    let question = read.expect("what the kernel reads is read");
    assert!(question.change.is_none() && question.unknown.is_empty());
    for asker in ASKERS.map(|at| at.parse::<std::net::SocketAddr>().expect("an address")) {
        let source = Address::from(asker.ip());
        let mut answer = [0; stun::LONGEST_RESPONSE as usize];
        assert!(stun::write_response(&mut answer[..], 0, &request, &source, asker.port()));
        let length = stun::response_length(&request, source.is_v4());
        assert!(u32::from(length) <= stun::LONGEST_RESPONSE);
        assert_eq!(answer[..length.into()], question.answer(asker, None));
    }
});
