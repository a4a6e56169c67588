use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Routes, Zone};
use super::*;

fn plan() -> Plan {
    let ranges = vec!["100.64.0.0/10".parse().unwrap(), "fd00:7::/48".parse().unwrap()];
    let mut zone = Zone::new("home.mesh", ranges).unwrap();
    let web = ["100.64.0.5", "fd00:7::5"].map(|address| address.parse().unwrap());
    zone.insert("web", &web).unwrap();
    let many: Vec<IpAddr> = (0..200u8).map(|n| IpAddr::from([100, 64, 1, n])).collect();
    zone.insert("many", &many).unwrap();
    let forward =
        BTreeMap::from([("sub.home.mesh".to_owned(), vec!["10.0.0.1:53".parse().unwrap()])]);
    let host = ["9.9.9.9:53".parse().unwrap()];
    Plan { zone, routes: Routes::new(&forward, &host, &[]).0 }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn judged(message: &Message, way: Way) -> Verdict {
    judge(&plan(), &message.to_vec().unwrap(), way)
}

fn answered(message: &Message) -> Message {
    match judged(message, Way::Udp) {
        Verdict::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn asked(message: &Message) -> Vec<SocketAddr> {
    match judged(message, Way::Udp) {
        Verdict::Forward { upstreams, .. } => upstreams.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nodes_are_answered_in_any_spelling() {
    let question = query("Web.HOME.mesh.", RecordType::A);
    let reply = answered(&question);
    assert_eq!((reply.metadata.id, reply.metadata.authoritative), (4711, true));
    assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available);
    assert!(reply.queries[0].name().eq_case(question.queries[0].name()));
    assert!(reply.answers[0].name.eq_case(question.queries[0].name()));
    assert_eq!(reply.answers[0].data, RData::A(A([100, 64, 0, 5].into())));
    assert_eq!(answered(&query("web.home.mesh.", RecordType::AAAA)).answers.len(), 1);
    assert_eq!(answered(&query("web.home.mesh.", RecordType::ANY)).answers.len(), 2);
    let pointer = answered(&query("5.0.64.100.in-addr.arpa.", RecordType::PTR));
    assert_eq!(pointer.answers[0].data.to_string(), "web.home.mesh.");
    let v6 = Name::from("fd00:7::5".parse::<IpAddr>().unwrap()).to_string();
    assert_eq!(answered(&query(&v6, RecordType::PTR)).answers.len(), 1);
    assert_eq!(answered(&query("home.mesh.", RecordType::SOA)).answers.len(), 1);
}

#[test]
fn what_is_not_there_is_said_by_us() {
    for (name, kind, code) in [
        ("other.home.mesh.", RecordType::A, ResponseCode::NXDomain),
        ("a.web.home.mesh.", RecordType::A, ResponseCode::NXDomain),
        ("web.home.mesh.", RecordType::MX, ResponseCode::NoError),
        ("home.mesh.", RecordType::A, ResponseCode::NoError),
        ("9.0.64.100.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain),
        ("0.64.100.in-addr.arpa.", RecordType::PTR, ResponseCode::NoError),
    ] {
        let reply = answered(&query(name, kind));
        assert_eq!(reply.metadata.response_code, code, "{name}");
        assert!(reply.answers.is_empty());
        let RData::SOA(start) = &reply.authorities[0].data else { panic!("{reply}") };
        assert_eq!((start.minimum, reply.authorities[0].ttl), (KEEP_ABSENCE, KEEP_ABSENCE));
        assert!(reply.authorities[0].name.zone_of(reply.queries[0].name()));
    }
    // Other networks' names are nobody's business outside.
    let foreign = answered(&query("web.other.mesh.", RecordType::A));
    assert_eq!(foreign.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn the_rest_is_forwarded() {
    assert_eq!(asked(&query("example.com.", RecordType::A)), ["9.9.9.9:53".parse().unwrap()]);
    assert_eq!(asked(&query("mesh.example.", RecordType::A)), ["9.9.9.9:53".parse().unwrap()]);
    assert_eq!(asked(&query("x.sub.home.mesh.", RecordType::A)), ["10.0.0.1:53".parse().unwrap()]);
    let elsewhere = query("8.8.8.8.in-addr.arpa.", RecordType::PTR);
    assert_eq!(asked(&elsewhere), ["9.9.9.9:53".parse().unwrap()]);
}

#[test]
fn options_are_answered_with_options() {
    let mut question = query("web.home.mesh.", RecordType::A);
    assert!(answered(&question).edns.is_none());
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    question.set_edns(edns.clone());
    let reply = answered(&question).edns.unwrap();
    assert_eq!((reply.max_payload(), reply.flags().dnssec_ok), (PAYLOAD, true));
    edns.set_version(1);
    question.set_edns(edns);
    let refused = answered(&question);
    assert_eq!(refused.metadata.response_code.low(), 0);
    assert_eq!((refused.edns.unwrap().rcode_high(), refused.answers.len()), (1, 0));
}

#[test]
fn long_answers_are_cut_on_udp_only() {
    let question = query("many.home.mesh.", RecordType::A);
    let cut = answered(&question);
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let Verdict::Answer(whole) = judged(&question, Way::Tcp) else { panic!() };
    let whole = Message::from_vec(&whole).unwrap();
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 200));
}

#[test]
fn what_is_no_plain_question_is_refused() {
    let mut update = query("web.home.mesh.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(answered(&update).metadata.response_code, ResponseCode::NotImp);
    let mut two = query("web.home.mesh.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(answered(&two).metadata.response_code, ResponseCode::FormErr);
    let whole = answered(&query("home.mesh.", RecordType::AXFR));
    assert_eq!(whole.metadata.response_code, ResponseCode::Refused);
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(answered(&chaos).metadata.response_code, ResponseCode::Refused);
    let mut reply = query("web.home.mesh.", RecordType::A);
    reply.metadata.message_type = MessageType::Response;
    assert!(matches!(judged(&reply, Way::Udp), Verdict::Ignore));
    assert!(matches!(judge(&plan(), b"short", Way::Udp), Verdict::Ignore));
}

proptest! {
    #[test]
    fn any_bytes(
        head in prop::option::of(Just([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])),
        rest in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let bytes: Vec<u8> = head.into_iter().flatten().chain(rest).collect();
        for way in [Way::Udp, Way::Tcp] {
            match judge(&plan(), &bytes, way) {
                Verdict::Answer(answer) => {
                    prop_assert_eq!(&answer[..2], &bytes[..2]);
                    prop_assert!(answer[2] & 0x80 != 0);
                    prop_assert!(way == Way::Tcp || answer.len() <= PAYLOAD.into());
                }
                Verdict::Forward { failure, .. } => prop_assert_eq!(&failure[..2], &bytes[..2]),
                Verdict::Ignore => prop_assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0),
            }
        }
    }

    #[test]
    fn any_name_comes_back_as_it_was_asked(
        labels in prop::collection::vec("[a-zA-Z0-9_]{1,10}(-[a-z0-9]{1,9})?", 0..4),
        below in prop::sample::select(vec!["home.mesh.", "WEB.home.MESH.", "64.100.in-addr.arpa."]),
        kind in prop::sample::select(vec![RecordType::A, RecordType::PTR, RecordType::TXT]),
        payload in prop::option::of(any::<u16>()),
    ) {
        prop_assume!(!labels.last().is_some_and(|label| label.eq_ignore_ascii_case("sub")));
        let name: String = labels.iter().map(|label| format!("{label}.")).collect();
        let mut question = query(&format!("{name}{below}"), kind);
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            question.set_edns(edns);
        }
        // Of addresses' names only those that can be some are ours.
        let numbers = labels.len() <= 2 && labels.iter().all(|label| label.parse::<u8>().is_ok());
        prop_assume!(below.contains("arpa") <= numbers);
        let reply = answered(&question);
        prop_assert_eq!(reply.queries[0].name().to_ascii(), question.queries[0].name().to_ascii());
        prop_assert_eq!(reply.edns.is_some(), payload.is_some());
    }
}
