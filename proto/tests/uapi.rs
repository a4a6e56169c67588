//! The configuration protocol as `wg` speaks it, and as it should not be spoken.

use proptest::prelude::*;
use proto::key::{PresharedKey, PublicKey};
use proto::uapi::{AllowedIpChange, Device, Peer, Request, Set};

const KEY: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";
const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn parse(text: &str) -> Result<Request, String> {
    Request::parse(text, &|name| (name == "eth0").then_some(7)).map_err(|error| error.to_string())
}

fn set(text: &str) -> Set {
    match parse(&format!("set=1\n{text}")) {
        Ok(Request::Set(set)) => set,
        other => panic!("{text:?} gave {other:?}"),
    }
}

fn refused(text: &str) -> String {
    parse(&format!("set=1\n{text}")).expect_err(text)
}

#[test]
fn a_whole_configuration() {
    let set = set(&format!(
        "private_key={KEY}\nlisten_port=51820\nfwmark=0x10\nreplace_peers=true\n\
         public_key={KEY}\npreshared_key={ZERO}\nendpoint=[2001:db8::1]:1\n\
         persistent_keepalive_interval=25\nreplace_allowed_ips=true\n\
         allowed_ip=10.0.0.7/24\nallowed_ip=-fd00::/8\nallowed_ip=+::1\nprotocol_version=1\n"
    ));
    assert!(matches!(set.private_key, Some(Some(_))));
    assert_eq!((set.listen_port, set.fwmark, set.replace_peers), (Some(51820), Some(16), true));
    let peer = &set.peers[0];
    assert_eq!(peer.public_key, PublicKey::from_hex(KEY).unwrap());
    assert_eq!(peer.preshared_key, Some(None));
    assert_eq!(peer.endpoint, Some("[2001:db8::1]:1".parse().unwrap()));
    assert_eq!(peer.persistent_keepalive, Some(25));
    assert!(peer.replace_allowed_ips && !peer.remove && !peer.update_only);
    assert_eq!(
        peer.allowed_ips,
        [
            AllowedIpChange::Add("10.0.0.0/24".parse().unwrap()),
            AllowedIpChange::Remove("fd00::/8".parse().unwrap()),
            AllowedIpChange::Add("::1/128".parse().unwrap()),
        ]
    );
}

#[test]
fn a_key_of_zeros_removes() {
    assert_eq!(set(&format!("private_key={ZERO}")).private_key, Some(None));
}

#[test]
fn a_link_local_endpoint_names_its_interface() {
    let set = set(&format!("public_key={KEY}\nendpoint=[fe80::1%eth0]:9"));
    assert_eq!(set.peers[0].endpoint, Some("[fe80::1%7]:9".parse().unwrap()));
    assert!(refused(&format!("public_key={KEY}\nendpoint=[fe80::1%eth9]:9")).contains("line 3"));
}

#[test]
fn errors_name_their_line() {
    let peer = |line: &str| refused(&format!("public_key={KEY}\n{line}"));
    for (error, said) in [
        (refused("listen_port=65536"), "line 2: listen_port is out of range"),
        (refused("listen_port=-1"), "line 2: listen_port is out of range"),
        (refused("fwmark=0xg"), "line 2: fwmark is out of range"),
        (refused("private_key=12"), "line 2: a key is 64 hexadecimal digits"),
        (refused("replace_peers=false"), "line 2: replace_peers takes only"),
        (refused("allowed_ip=::/0"), "line 2: no such key for an interface"),
        (refused("nonsense"), "line 2: expected key=value"),
        (peer("listen_port=1"), "line 3: no such key for a peer"),
        (peer("endpoint=example.org:1"), "line 3: no address and port"),
        (peer("endpoint=1.2.3.4"), "line 3: no address and port"),
        (peer("allowed_ip=10.0.0.0/33"), "line 3: no address with prefix length"),
        (peer("persistent_keepalive_interval=70000"), "line 3: persistent_keepalive"),
        (peer("protocol_version=2"), "line 3: the only protocol_version"),
        (peer("preshared_key=zz"), "line 3: a key is"),
        (parse("get=1\nlisten_port=1").expect_err("get"), "line 2: get takes no further lines"),
        (parse("put=1").expect_err("put"), "line 1: expected get=1 or set=1"),
    ] {
        assert!(error.starts_with(said), "{error:?} should start with {said:?}");
    }
}

#[test]
fn an_error_never_repeats_a_secret() {
    let near = &KEY[1..];
    assert!(!refused(&format!("private_key={near}")).contains(near));
    assert!(!refused(&format!("public_key={KEY}\npreshared_key={near}")).contains(near));
}

#[test]
fn what_get_says_set_understands() {
    let network = "10.1.0.0/16".parse().unwrap();
    let device = Device {
        private_key: None,
        listen_port: 7,
        fwmark: 9,
        peers: vec![Peer {
            public_key: PublicKey::from_hex(KEY).unwrap(),
            preshared_key: Some(PresharedKey::from([3; 32])),
            endpoint: Some("192.0.2.1:5".parse().unwrap()),
            last_handshake: None,
            tx_bytes: 1,
            rx_bytes: 2,
            persistent_keepalive: 3,
            allowed_ips: vec![network],
        }],
    };
    let reported = ["last_handshake", "tx_bytes", "rx_bytes"];
    let text: String = device
        .to_text()
        .lines()
        .filter(|line| !reported.iter().any(|key| line.starts_with(key)))
        .map(|line| format!("{line}\n"))
        .collect();
    let set = set(&text);
    assert_eq!((set.listen_port, set.fwmark), (Some(7), Some(9)));
    assert_eq!(set.peers[0].preshared_key, Some(Some(PresharedKey::from([3; 32]))));
    assert_eq!(set.peers[0].allowed_ips, [AllowedIpChange::Add(network)]);
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "(set=1|get=1)?(\n[a-z_]{0,12}=?[ -~]{0,70}){0,6}") {
        let _ = parse(&text);
    }
}
