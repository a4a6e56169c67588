//! A query, and what becomes of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, NS, PTR, SOA};
use hickory_proto::rr::{DNSClass, LowerName, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use super::zone::Found;
use super::{Expected, Plan};

/// Longer ones are not read: a question and its options take a few hundred bytes.
pub const LONGEST_QUERY: usize = 4096;

/// How long our names may be kept, in seconds: a node seldom gets another address.
const KEEP: u32 = 30;
/// How long it may be kept that there is no such name: nodes come.
const KEEP_ABSENCE: u32 = 5;
/// What passes without fragments everywhere (the field's agreement of 2020).
const PAYLOAD: u16 = 1232;
/// Records beside the question; resolvers send an OPT, rarely a signature.
const MOST_RECORDS: u16 = 4;

/// How a query came, and how its answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Datagrams: what is long is cut.
    Udp,
    /// A connection.
    Tcp,
}

/// What becomes of a query.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is answered so.
    Answer(Vec<u8>),
    /// These are asked. If nobody answers, `failure` is the answer.
    Forward {
        /// Whom to ask, the best first.
        upstreams: Arc<[SocketAddr]>,
        /// What their answers have to match.
        expected: Expected,
        /// What to say if there is no answer.
        failure: Vec<u8>,
    },
    /// It is no query: whoever answers those answers answers.
    Ignore,
}

/// Decides about what came in.
#[must_use]
pub fn judge(plan: &Plan, bytes: &[u8], way: Way) -> Verdict {
    let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) else { return Verdict::Ignore };
    if header.metadata.message_type == MessageType::Response {
        return Verdict::Ignore;
    }
    let refuse = |code| answer(Message::error_msg(header.id, header.op_code, code), PAYLOAD);
    if header.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let counts = header.counts;
    // Before the rest is read: the decoder makes room for as many as the header claims.
    if counts.queries != 1
        || counts.answers != 0
        || counts.authorities != 0
        || counts.additionals > MOST_RECORDS
        || bytes.len() > LONGEST_QUERY
    {
        return refuse(ResponseCode::FormErr);
    }
    match Message::from_vec(bytes) {
        Ok(query) => decide(plan, &query, way),
        Err(_) => refuse(ResponseCode::FormErr),
    }
}

fn decide(plan: &Plan, query: &Message, way: Way) -> Verdict {
    let limit = match way {
        Way::Udp => query.max_payload().clamp(512, PAYLOAD),
        Way::Tcp => u16::MAX,
    };
    let Some(asked) = query.queries.first() else { return Verdict::Ignore };
    let name = LowerName::new(asked.name());
    let refuse = |code| {
        let mut message = response(query);
        message.metadata.response_code = code;
        answer(message, limit)
    };
    if query.version() > 0 {
        return refuse(ResponseCode::BADVERS);
    }
    if asked.query_class() != DNSClass::IN
        || matches!(asked.query_type(), RecordType::AXFR | RecordType::IXFR)
    {
        return refuse(ResponseCode::Refused);
    }
    let upstreams = match plan.zone.find(&name) {
        Some((Found::Nothing, zone)) => match plan.delegated(&name, &zone) {
            Some(upstreams) => upstreams,
            None => return answer(ours(query, asked, &Found::Nothing, zone), limit),
        },
        Some((found, zone)) => return answer(ours(query, asked, &found, zone), limit),
        None => match plan.ask(&name) {
            Some(upstreams) => upstreams,
            None => return refuse(ResponseCode::NXDomain),
        },
    };
    let failure = match refuse(ResponseCode::ServFail) {
        Verdict::Answer(failure) => failure,
        Verdict::Forward { .. } | Verdict::Ignore => return Verdict::Ignore,
    };
    let longest = match way {
        Way::Udp => usize::from(query.max_payload()),
        Way::Tcp => usize::from(u16::MAX),
    };
    Verdict::Forward { upstreams, expected: Expected::new(asked, longest), failure }
}

/// The answer out of our own zone.
fn ours(query: &Message, asked: &Query, found: &Found<'_>, zone: Name) -> Message {
    let mut message = response(query);
    message.metadata.authoritative = true;
    let wants = |kind| asked.query_type() == kind || asked.query_type() == RecordType::ANY;
    let mut add = |data| {
        message.add_answer(Record::from_rdata(asked.name().clone(), KEEP, data));
    };
    match found {
        Found::Addresses(addresses) => {
            for address in *addresses {
                match address {
                    IpAddr::V4(v4) if wants(RecordType::A) => add(RData::A(A(*v4))),
                    IpAddr::V6(v6) if wants(RecordType::AAAA) => add(RData::AAAA(AAAA(*v6))),
                    IpAddr::V4(_) | IpAddr::V6(_) => {}
                }
            }
        }
        Found::Node(node) if wants(RecordType::PTR) => add(RData::PTR(PTR((*node).clone()))),
        Found::Empty if *asked.name() == zone => {
            if wants(RecordType::SOA) {
                add(RData::SOA(start(&zone)));
            }
            if wants(RecordType::NS) {
                add(RData::NS(NS(zone.clone())));
            }
        }
        Found::Node(_) | Found::Empty => {}
        Found::Nothing => message.metadata.response_code = ResponseCode::NXDomain,
    }
    if message.answers.is_empty() {
        let start = start(&zone);
        message.add_authority(Record::from_rdata(zone, KEEP_ABSENCE, RData::SOA(start)));
    }
    message
}

/// What tells for how long an absence may be kept.
fn start(zone: &Name) -> SOA {
    SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86400, KEEP_ABSENCE)
}

/// The head of an answer: the question, and what is copied of its header.
fn response(query: &Message) -> Message {
    let mut message = Message::response(query.metadata.id, OpCode::Query);
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.checking_disabled = query.metadata.checking_disabled;
    message.metadata.recursion_available = true;
    message.add_queries(query.queries.iter().cloned());
    if let Some(theirs) = &query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_dnssec_ok(theirs.flags().dnssec_ok);
        message.set_edns(edns);
    }
    message
}

fn answer(message: Message, limit: u16) -> Verdict {
    match message.to_vec() {
        Ok(bytes) if bytes.len() <= limit.into() => Verdict::Answer(bytes),
        Ok(_) => message.truncate().to_vec().map_or(Verdict::Ignore, Verdict::Answer),
        Err(_) => Verdict::Ignore,
    }
}

#[cfg(test)]
#[path = "judge/tests.rs"]
mod tests;
