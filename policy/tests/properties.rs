//! The compiled tables mean what the document says, and no text makes the parser panic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy::{Document, Packet, compile};
use proptest::{collection::vec, prelude::*, sample::select};

/// Few addresses, close together, so that random prefixes overlap and random packets hit them.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..4, 0u8..8).prop_map(|(c, d)| Ipv4Addr::new(10, 0, c, d).into()),
        (0u16..3, 0u16..8).prop_map(|(g, h)| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, g, h).into()),
        // Beside the block of mapped addresses, where the families could be confused.
        (0u16..4).prop_map(|h| Ipv6Addr::new(0, 0, 0, 0, 0, 0xfffe, 0, h).into()),
    ]
}

fn network() -> impl Strategy<Value = String> {
    let prefix = (address(), any::<prop::sample::Index>()).prop_map(|(ip, index)| match ip {
        IpAddr::V4(v4) => {
            let length = [0, 8, 22, 23, 24, 29, 30, 31, 32][index.index(9)];
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            format!("{}/{length}", Ipv4Addr::from(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let length = [0, 8, 64, 80, 95, 96, 112, 126, 127, 128][index.index(10)];
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            format!("{}/{length}", Ipv6Addr::from(v6.to_bits() & mask))
        }
    });
    prop_oneof![1 => Just("*".to_owned()), 6 => prefix]
}

fn ports() -> impl Strategy<Value = String> {
    let range = (0u16..40, 0u16..40).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let port = (0u16..40).prop_map(|port| port.to_string());
    let wide = Just("20-65535".to_owned());
    prop_oneof![
        1 => Just("*".to_owned()),
        3 => vec(prop_oneof![4 => range, 4 => port, 1 => wide], 1..4).prop_map(|p| p.join(",")),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let with_ports =
        (vec((network(), ports()), 1..4), select(vec!["", "tcp", "udp", "sctp", "17"]));
    let without =
        (vec((network(), Just("*".to_owned())), 1..4), select(vec!["icmp", "ipv6-icmp", "47"]));
    let to = prop_oneof![3 => with_ports.boxed(), 1 => without.boxed()];
    (select(vec!["accept", "accept", "deny"]), vec(network(), 1..4), to).prop_map(
        |(action, src, (dst, proto))| {
            let src: Vec<String> = src.iter().map(|s| format!("{s:?}")).collect();
            let dst: Vec<String> = dst.iter().map(|(n, p)| format!("\"{n}:{p}\"")).collect();
            let proto = match proto {
                "" => String::new(),
                name => format!(", \"proto\": {name:?}"),
            };
            format!(
                "{{ \"action\": {action:?}, \"src\": [{}], \"dst\": [{}]{proto} }}",
                src.join(", "),
                dst.join(", ")
            )
        },
    )
}

fn document() -> impl Strategy<Value = String> {
    vec(rule(), 0..8)
        .prop_map(|rules| format!("{{ \"acls\": [\n{},\n] }}", rules.join(",\n")))
        .prop_map(|text| text.replace("[\n,\n]", "[]"))
}

fn packet() -> impl Strategy<Value = Packet> {
    let protocol = select(vec![1u8, 6, 17, 47, 58, 132]);
    (address(), address(), protocol, prop_oneof![0u16..44, any::<u16>()]).prop_map(
        |(source, destination, protocol, port)| Packet { source, destination, protocol, port },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn compiled_tables_mean_what_the_document_says(
        text in document(),
        packets in vec(packet(), 200),
    ) {
        let document = Document::parse(&text).map_err(|errors| {
            TestCaseError::fail(policy::render("policy", &text, &errors))
        })?;
        let compiled = compile(&document).unwrap();
        for packet in packets {
            let expected = document.first_match(&packet);
            let found = compiled.find(&packet).map(|entry| entry.rule.0 as usize);
            prop_assert_eq!(found, expected, "{:?} by {}", packet, text);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn no_shuffled_policy_makes_the_parser_panic(
        pieces in vec(select(vec![
            "{", "}", "[", "]", ":", ",", "\"acls\"", "\"action\"", "\"accept\"", "\"src\"",
            "\"dst\"", "\"proto\"", "\"tcp\"", "\"*\"", "\"10.0.0.1:22\"", "\"[fd00::\"", "\"]:\"",
            "\"::ffff:1.2.3.4/0\"", "\"é/\"", "\"\\u00e9:1\"", "// c\n", "/*", "*/", "null", "-1",
            "\"1.2.3.4/33:0-65536\"", "\n", "é", "\"", "\\",
        ]), 0..40),
    ) {
        check(&pieces.concat());
    }

    #[test]
    fn no_selector_makes_the_parser_panic(source in any::<String>(), to in "[\\[\\]:/*0-9a-f,.-]{0,30}") {
        let text = format!(
            "{{\"acls\":[{{\"action\":\"accept\",\"src\":[{source:?}],\"dst\":[{to:?}]}}]}}"
        );
        check(&text);
    }
}

/// Errors lie within the text, and can be shown.
fn check(text: &str) {
    if let Err(errors) = Document::parse(text) {
        assert!(!errors.is_empty());
        let lines = u32::try_from(text.matches('\n').count()).unwrap() + 1;
        assert!(errors.iter().all(|e| (1..=lines).contains(&e.line) && e.column >= 1));
        assert!(!policy::render("f", text, &errors).is_empty());
    }
}
