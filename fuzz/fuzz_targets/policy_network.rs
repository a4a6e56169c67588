//! Any text may be given as a policy and as its nodes; every node's tables mean what the document
//! says of the nodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::{Document, Nodes, Packet, Plan};

fuzz_target!(|texts: (&str, &str)| {
    let nodes = match Nodes::parse(texts.1) {
        Ok(nodes) => nodes,
        Err(errors) => {
            assert!(!errors.is_empty());
            let _ = policy::render("fuzz", texts.1, &errors);
            return;
        }
    };
    let Ok(document) = Document::parse(texts.0) else { return };
    let _ = policy::try_tests(&document, &nodes);
    let plan = Plan::new(document.clone(), &nodes);
    for node in nodes.iter().take(4) {
        let filter = plan.filter(&node.name).expect("the node's filter");
        let Ok(compiled) = filter.compile() else { continue };
        for other in nodes.iter().take(4) {
            let rule = document.path_rule(&nodes, node, other);
            let meant = rule.map(|rule| rule.kinds).unwrap_or_default();
            assert_eq!(plan.path_kinds(&node.name, &other.name), meant);
            for (source, destination) in node.addresses.iter().zip(&other.addresses) {
                let (source, destination) = (*source, *destination);
                let packet = Packet { source, destination, protocol: 6, port: 22 };
                let expected = document.first_match(&nodes, &packet);
                let rule =
                    compiled.find(&packet).map(|entry| filter.rules()[entry.rule.0 as usize]);
                assert_eq!(rule.and_then(|rule| plan.rule(rule)).map(|(at, _)| at), expected);
            }
        }
    }
});
