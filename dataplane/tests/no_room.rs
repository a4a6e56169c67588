//! A policy for which the kernel has no room.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use dataplane::{Action, Direction, Error};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{UDP, compiled, ip, load, ports};

/// Alone in its process: it takes that all file descriptors.
#[test]
fn a_map_that_cannot_be_made_leaves_the_policy_as_it_was() {
    let rules = |port: u16| {
        compiled(&format!(
            r#"{{ "action": "accept", "src": ["10.0.0.0/8"], "dst": ["*:{port}"], "proto": "udp" }}"#
        ))
    };
    let mut programs = load(&rules(53));
    let verdict = |programs: &dataplane::PolicyPrograms, port| {
        let packet = ip("10.0.0.7", "10.0.0.2", UDP, &ports(40_000, port));
        programs.judge(Direction::In, &packet).unwrap()
    };
    let generation = programs.generation();
    let before = getrlimit(Resource::Nofile);
    // None that is free may be used, which is how the kernel refuses a map to whom it gives no more.
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..before }).unwrap();
    let refused = programs.apply(&rules(54));
    setrlimit(Resource::Nofile, before).unwrap();
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::Map { action: "create", .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("EXACT") && said.contains("CAP_BPF"), "{said}");
    assert_eq!(programs.generation(), generation);
    assert_eq!([53, 54].map(|port| verdict(&programs, port)), [Action::Pass, Action::Drop]);

    programs.apply(&rules(54)).unwrap();
    // The flow to the first port is judged again, and ends.
    assert_eq!([53, 54].map(|port| verdict(&programs, port)), [Action::Drop, Action::Pass]);
}
