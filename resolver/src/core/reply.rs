//! What those that were asked answer: is it an answer to our question, and does it fit?

use hickory_proto::op::{Header, Message, MessageType, Query, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

/// The bit of a header's third byte that says "cut".
const CUT: u8 = 0x02;

/// What an answer has to match.
#[derive(Clone, Debug)]
pub struct Expected {
    question: Query,
    longest: usize,
}

/// An answer that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is whole.
    Whole(Vec<u8>),
    /// It was cut: the whole is to be had over TCP.
    Cut(Vec<u8>),
    /// The other end could not or would not: somebody else may.
    Failed(Vec<u8>),
}

impl Expected {
    /// Answers to this question, so long at most.
    #[must_use]
    pub(super) fn new(question: &Query, longest: usize) -> Self {
        Self { question: question.clone(), longest }
    }

    /// How long an answer may be for who asked.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Looks at what came; none if it is not the answer to what was asked under this id.
    #[must_use]
    pub fn read(&self, id: u16, bytes: Vec<u8>) -> Option<Reply> {
        let mut decoder = BinDecoder::new(&bytes);
        let header = Header::read(&mut decoder).ok()?;
        if header.metadata.message_type != MessageType::Response || header.metadata.id != id {
            return None;
        }
        match header.counts.queries {
            1 => {
                let theirs = Query::read(&mut decoder).ok()?;
                let same = theirs.name() == self.question.name()
                    && theirs.query_type() == self.question.query_type()
                    && theirs.query_class() == self.question.query_class();
                same.then_some(())?;
            }
            // Who cannot read a question cannot repeat it.
            0 if header.metadata.response_code != ResponseCode::NoError => {
                return Some(Reply::Failed(bytes));
            }
            _ => return None,
        }
        let failed = matches!(
            header.metadata.response_code,
            ResponseCode::ServFail
                | ResponseCode::Refused
                | ResponseCode::NotImp
                | ResponseCode::FormErr
        );
        Some(match (failed, header.metadata.truncation) {
            (true, _) => Reply::Failed(bytes),
            (false, true) => Reply::Cut(bytes),
            (false, false) => Reply::Whole(bytes),
        })
    }

    /// As it is or, if it is longer than who asked can take, cut.
    #[must_use]
    pub fn fit(&self, bytes: Vec<u8>) -> Vec<u8> {
        if bytes.len() <= self.longest {
            return bytes;
        }
        let cut = Message::from_vec(&bytes).map(|message| message.truncate().to_vec());
        match cut {
            Ok(Ok(cut)) if cut.len() <= self.longest => cut,
            _ => bare(bytes),
        }
    }
}

/// The header alone, and that the rest was cut.
fn bare(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(12);
    if let Some(flags) = bytes.get_mut(2) {
        *flags |= CUT;
    }
    if let Some(counts) = bytes.get_mut(4..) {
        counts.fill(0);
    }
    bytes
}

/// A message under another id.
#[must_use]
pub fn with_id(mut message: Vec<u8>, id: [u8; 2]) -> Vec<u8> {
    if let Some(place) = message.first_chunk_mut() {
        *place = id;
    }
    message
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Edns, OpCode};
    use hickory_proto::rr::rdata::TXT;
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use proptest::prelude::*;

    use super::*;

    fn question(name: &str) -> Query {
        Query::query(Name::from_ascii(name).unwrap(), RecordType::TXT)
    }

    fn reply(to: &Query, texts: usize) -> Message {
        let mut message = Message::response(7, OpCode::Query);
        message.add_query(to.clone());
        message.set_edns(Edns::new());
        for _ in 0..texts {
            let text = RData::TXT(TXT::new(vec!["x".repeat(200)]));
            message.add_answer(Record::from_rdata(to.name().clone(), 1, text));
        }
        message
    }

    #[test]
    fn only_answers_to_the_question_count() {
        let asked = question("a.example.");
        let expected = Expected::new(&asked, 512);
        let good = reply(&asked, 1);
        assert!(matches!(expected.read(7, good.to_vec().unwrap()), Some(Reply::Whole(_))));
        assert_eq!(expected.read(8, good.to_vec().unwrap()), None);
        // Spelt otherwise is the same name.
        let spelt = reply(&question("A.Example."), 1);
        assert!(expected.read(7, spelt.to_vec().unwrap()).is_some());
        assert_eq!(expected.read(7, reply(&question("b.example."), 1).to_vec().unwrap()), None);
        let mut query = good.clone();
        query.metadata.message_type = MessageType::Query;
        assert_eq!(expected.read(7, query.to_vec().unwrap()), None);
        let mut failed = good.clone();
        failed.metadata.response_code = ResponseCode::ServFail;
        assert!(matches!(expected.read(7, failed.to_vec().unwrap()), Some(Reply::Failed(_))));
        let cut = good.truncate();
        assert!(matches!(expected.read(7, cut.to_vec().unwrap()), Some(Reply::Cut(_))));
        let mute = Message::error_msg(7, OpCode::Query, ResponseCode::FormErr);
        assert!(matches!(expected.read(7, mute.to_vec().unwrap()), Some(Reply::Failed(_))));
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let asked = question("a.example.");
        let long = reply(&asked, 5).to_vec().unwrap();
        let fitted = Expected::new(&asked, 512).fit(long.clone());
        let read = Message::from_vec(&fitted).unwrap();
        assert!(read.metadata.truncation && read.answers.is_empty() && read.edns.is_some());
        assert_eq!(read.queries, std::slice::from_ref(&asked));
        assert_eq!(Expected::new(&asked, 4096).fit(long.clone()), long);
        assert_eq!(Expected::new(&asked, 12).fit(long)[..4], [0, 7, 0x82, 0]);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), longest in 12usize..600) {
            let expected = Expected::new(&question("a.example."), longest);
            let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
            let _ = expected.read(id, bytes.clone());
            prop_assert!(expected.fit(bytes.clone()).len() <= longest.max(12));
            prop_assert_eq!(with_id(bytes.clone(), [1, 2]).len(), bytes.len());
        }
    }
}
