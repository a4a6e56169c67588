//! Anything may be sent to the resolver's port, by its host or by whom it asks: what is answered has
//! the question's id, fits, and can be read; a `resolv.conf` comes back as it was.
#![no_main]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use resolver::core::{
    Expected, Ours, Plan, ResolvConf, Routes, Verdict, Way, Zone, give_back, is_taken, judge,
    take_over,
};

fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let ranges = ["100.64.0.0/10", "fd00:7::/48"].map(|range| range.parse().expect("a range"));
        let mut zone = Zone::new("home.mesh", ranges.to_vec()).expect("a domain");
        let addresses: Vec<IpAddr> = (0..100u8).map(|n| IpAddr::from([100, 64, 0, n])).collect();
        zone.insert("web", &addresses).expect("a name");
        let upstream = vec!["10.0.0.1:53".parse().expect("an address")];
        let forward = BTreeMap::from([("sub.home.mesh".to_owned(), upstream.clone())]);
        Plan { zone, routes: Routes::new(&forward, &upstream, &[]).0 }
    })
}

fn reply(expected: &Expected, bytes: &[u8]) {
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let _ = expected.read(id, bytes.to_vec());
    assert!(expected.fit(bytes.to_vec()).len() <= expected.longest().max(12));
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (query, answer) = input;
    for (way, most) in [(Way::Udp, 1232), (Way::Tcp, 65535)] {
        match judge(plan(), query, way) {
            Verdict::Answer(said) => {
                assert_eq!(said[..2], query[..2]);
                assert!(said[2] & 0x80 != 0 && said.len() <= most);
            }
            Verdict::Forward { expected, failure, .. } => {
                assert_eq!(failure[..2], query[..2]);
                reply(&expected, answer);
                // The question itself, sent back, is no answer.
                assert!(
                    expected
                        .read(u16::from_be_bytes([query[0], query[1]]), query.to_vec())
                        .is_none()
                );
            }
            Verdict::Ignore => {}
        }
    }
    let ours = Ours {
        nameserver: IpAddr::from([169u8, 254, 53, 53]),
        search: Some("home.mesh".to_owned()),
    };
    let _ = ResolvConf::parse(answer);
    let taken = take_over(Some(answer), &ours);
    if !is_taken(answer) {
        assert_eq!(take_over(Some(&taken), &ours), taken);
        assert_eq!(give_back(&taken).as_deref(), Some(answer));
    }
});
