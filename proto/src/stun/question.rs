//! A binding request as a server of RFC 5780 reads it, and what it answers. What is plain is answered
//! as the kernel's program does (`dataplane_common::stun`).

use std::net::SocketAddr;

use dataplane_common::Address;
use dataplane_common::stun::{
    BINDING_ERROR, BINDING_REQUEST, COOKIE, Request, Response, fingerprint,
};

use super::attributes::{Attributes, put, put_address};
use super::{
    CHANGE_REQUEST, Change, ERROR_CODE, FINGERPRINT, HEADER_LEN, OTHER_ADDRESS, RESPONSE_ORIGIN,
    Transaction, UNKNOWN_ATTRIBUTES,
};

/// The longest question that is read: one that pads itself to a whole packet is refused, not dropped.
pub const LONGEST_QUESTION: usize = 2048;
/// Attributes from this number on may be passed over by who does not know them.
const OPTIONAL: u16 = 0x8000;

/// A binding request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What the answer must repeat.
    pub transaction: Transaction,
    /// Whether it carries a fingerprint; then the answer does too.
    pub fingerprint: bool,
    /// From where it is to be answered, if it says so.
    pub change: Option<Change>,
    /// What it wants to be understood, and is not.
    pub unknown: Vec<u16>,
}

impl Question {
    /// Reads one.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (&head, body) = datagram.split_first_chunk::<HEADER_LEN>()?;
        let [k0, k1, l0, l1, c0, c1, c2, c3, transaction @ ..] = head;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let whole = length == body.len() && length.is_multiple_of(4);
        let is_question = [k0, k1] == BINDING_REQUEST && [c0, c1, c2, c3] == COOKIE;
        if !is_question || !whole || datagram.len() > LONGEST_QUESTION {
            return None;
        }
        let mut question =
            Self { transaction, fingerprint: false, change: None, unknown: Vec::new() };
        let mut attributes = Attributes::of(body);
        while let Some(attribute) = attributes.next() {
            match attribute? {
                // The last one: so it covers all that is before it.
                (FINGERPRINT, sum) if attributes.is_over() => {
                    let covered = datagram.get(..datagram.len().checked_sub(8)?)?;
                    if sum != fingerprint(covered) {
                        return None;
                    }
                    question.fingerprint = true;
                }
                (FINGERPRINT, _) => return None,
                (CHANGE_REQUEST, value) => {
                    let change = Change::parse(value)?;
                    // Of several the first counts.
                    question.change.get_or_insert(change);
                }
                (kind @ ..OPTIONAL, _) => question.unknown.push(kind),
                _ => {}
            }
        }
        Some(question)
    }

    /// The answer to who asks from this address: by a server that has a second address, with the one
    /// from which it answers and that which is other in both address and port.
    #[must_use]
    pub fn answer(&self, asker: SocketAddr, two: Option<[SocketAddr; 2]>) -> Vec<u8> {
        let plain = Request { transaction: self.transaction, fingerprint: false };
        let plain = Response::new(&plain, &Address::from(asker.ip()), asker.port());
        let mut message = plain.bytes().to_vec();
        if let Some([origin, other]) = two {
            put_address(&mut message, RESPONSE_ORIGIN, origin);
            put_address(&mut message, OTHER_ADDRESS, other);
        }
        self.finish(message)
    }

    /// The refusal (420) of what is not known, and of a change by a server that has no second address.
    #[must_use]
    pub fn refusal(&self, has_second: bool) -> Vec<u8> {
        let change = self.change.filter(|_| !has_second).map(|_| CHANGE_REQUEST);
        let kinds: Vec<u8> =
            self.unknown.iter().copied().chain(change).flat_map(u16::to_be_bytes).collect();
        let mut message = [&BINDING_ERROR[..], &[0, 0], &COOKIE, &self.transaction].concat();
        // Without a phrase for people, so that little is sent for little.
        put(&mut message, ERROR_CODE, &[0, 0, 4, 20]);
        put(&mut message, UNKNOWN_ATTRIBUTES, &kinds);
        self.finish(message)
    }

    /// With its length, and a fingerprint if the question had one.
    fn finish(&self, mut message: Vec<u8>) -> Vec<u8> {
        let sum = if self.fingerprint { 8 } else { 0 };
        // A question is short, and so is what answers it.
        let length = u16::try_from(message.len() + sum - HEADER_LEN).unwrap_or_default();
        message[2..4].copy_from_slice(&length.to_be_bytes());
        if self.fingerprint {
            let sum = fingerprint(&message);
            put(&mut message, FINGERPRINT, &sum);
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use dataplane_common::stun::{LONGEST_REQUEST, parse};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::{self as stun, Answer, Mask, address, request, request_from};
    use super::*;

    const TRANSACTION: Transaction = *b"twelve bytes";

    fn message(attributes: &[(u16, Vec<u8>)], with_sum: bool) -> Vec<u8> {
        let mut message = request(&TRANSACTION);
        for (kind, value) in attributes {
            put(&mut message, *kind, value);
        }
        let question = Question {
            transaction: TRANSACTION,
            fingerprint: with_sum,
            change: None,
            unknown: Vec::new(),
        };
        question.finish(message)
    }

    /// The kinds and values of an answer, whose length and fingerprint are right.
    fn attributes(message: &[u8], with_sum: bool) -> Vec<(u16, Vec<u8>)> {
        assert_eq!(usize::from(u16::from_be_bytes([message[2], message[3]])) + 20, message.len());
        assert_eq!(message[4..20], [&COOKIE[..], &TRANSACTION].concat());
        let all = Attributes::of(&message[20..]).map(|attribute| attribute.unwrap());
        let mut all: Vec<_> = all.map(|(kind, value)| (kind, value.to_vec())).collect();
        if with_sum {
            let sum = fingerprint(&message[..message.len() - 8]).to_vec();
            assert_eq!(all.pop(), Some((FINGERPRINT, sum)));
        }
        all
    }

    fn kinds() -> impl Strategy<Value = u16> {
        let known = [CHANGE_REQUEST, FINGERPRINT, 0x26, 0x27, 0x8022];
        prop_oneof![prop::sample::select(known.to_vec()), any::<u16>()]
    }

    proptest! {
        #[test]
        fn it_is_read_as_the_kernel_reads_it_where_that_reads_it(
            all in vec((kinds(), vec(any::<u8>(), 0..12)), 0..4),
            with_sum: bool,
            flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
        ) {
            let mut message = message(&all, with_sum);
            for (at, by) in flips {
                let at = at.index(message.len());
                message[at] ^= by;
            }
            let length = u32::try_from(message.len()).unwrap();
            let by_kernel = parse(&message[..], 0, length);
            let read = Question::parse(&message);
            let plain = read.filter(|read| read.change.is_none() && read.unknown.is_empty());
            prop_assume!(length <= LONGEST_REQUEST);
            let here = plain.as_ref().map(|question| (question.transaction, question.fingerprint));
            prop_assert_eq!(here, by_kernel.map(|read| (read.transaction, read.fingerprint)));
            if let (Some(question), Some(request)) = (plain, by_kernel) {
                for asker in ["192.0.2.1:7", "[2001:db8::7]:65535"] {
                    let asker: SocketAddr = asker.parse().unwrap();
                    let there = Response::new(&request, &Address::from(asker.ip()), asker.port());
                    prop_assert_eq!(&question.answer(asker, None)[..], there.bytes());
                }
            }
        }

        #[test]
        fn no_bytes_are_a_panic_and_no_answer_is_much_longer(
            body in vec(any::<u8>(), 0..200), whole: bool,
        ) {
            let mut bytes = [request(&TRANSACTION), body].concat();
            if whole {
                bytes.truncate(bytes.len() / 4 * 4);
                let length = u16::try_from(bytes.len() - 20).unwrap();
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
            }
            if let Some(question) = Question::parse(&bytes) {
                let v6: SocketAddr = "[2001:db8::7]:9".parse().unwrap();
                prop_assert!(question.answer(v6, Some([v6; 2])).len() <= bytes.len() + 72);
                prop_assert!(question.refusal(false).len() <= bytes.len() + 12);
            }
        }

        #[test]
        fn a_client_learns_both_addresses(
            asker: SocketAddr, origin: SocketAddr, other: SocketAddr, with_sum: bool,
        ) {
            let question = Question::parse(&message(&[], with_sum)).unwrap();
            let message = question.answer(asker, Some([origin, other]));
            // Neither a flow label nor a scope is on the wire.
            let wire = |at: SocketAddr| SocketAddr::new(at.ip(), at.port());
            let seen = SocketAddr::new(asker.ip().to_canonical(), asker.port());
            let told = stun::answer(&message, &TRANSACTION);
            prop_assert_eq!(told, Some(Answer { seen, other: Some(wire(other)) }));
            let all = attributes(&message, with_sum);
            let (kind, value) = &all[1];
            prop_assert_eq!(*kind, RESPONSE_ORIGIN);
            prop_assert_eq!(address(value, &Mask::NONE), Some(wire(origin)));
        }
    }

    #[test]
    fn it_says_from_where_it_wants_its_answer() {
        for (ip, port) in [(false, false), (false, true), (true, false), (true, true)] {
            let change = Change { ip, port };
            let asked = Question::parse(&request_from(&TRANSACTION, change)).unwrap();
            assert_eq!((asked.change, &asked.unknown[..]), (Some(change), &[][..]));
        }
        for wrong in [vec![], vec![0; 3], vec![0; 8]] {
            assert_eq!(Question::parse(&message(&[(CHANGE_REQUEST, wrong)], false)), None);
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        // Padding of a whole packet, and a port to answer to.
        let all = [(0x26, vec![0; 1500]), (0x8022, vec![7; 3]), (0x27, vec![0, 9, 0, 0])];
        for with_sum in [false, true] {
            let asked = Question::parse(&message(&all, with_sum)).unwrap();
            let refused = asked.refusal(true);
            assert_eq!(refused[..2], BINDING_ERROR);
            let told = attributes(&refused, with_sum);
            assert_eq!(told[0], (ERROR_CODE, vec![0, 0, 4, 20]));
            assert_eq!(told[1], (UNKNOWN_ATTRIBUTES, vec![0, 0x26, 0, 0x27]));
        }
        let change = Change { ip: true, port: true };
        let asked = Question::parse(&request_from(&TRANSACTION, change)).unwrap();
        let told = attributes(&asked.refusal(false), false);
        assert_eq!(told[1], (UNKNOWN_ATTRIBUTES, vec![0, 3]));
        let long = [(0x26, vec![0; LONGEST_QUESTION])];
        assert_eq!(Question::parse(&message(&long, false)), None);
    }
}
