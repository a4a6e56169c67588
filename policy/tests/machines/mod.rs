//! Large networks, and how long it takes to work with them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use policy::Nodes;

/// Does this and says how long it took: where it is optimised, it may take no longer than that.
pub(crate) fn timed<T>(what: &str, most: Duration, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let made = run();
    let took = start.elapsed();
    println!("{what:<27} {:>7.1} ms", took.as_secs_f64() * 1e3);
    assert!(cfg!(debug_assertions) || took < most, "{what} took {took:?}");
    made
}

/// The IPv4 address of a node.
pub(crate) fn v4(node: usize) -> String {
    format!("100.{}.{}.{}", 64 + node / 65_536, node / 256 % 256, node % 256)
}

/// So many nodes; `whose` says the user or the tags of each.
pub(crate) fn nodes(count: usize, whose: impl Fn(usize) -> String) -> Nodes {
    let mut text = String::from("{ \"nodes\": [\n");
    for node in 0..count {
        let (whose, v4) = (whose(node), v4(node));
        writeln!(
            text,
            "{{ \"name\": \"n{node}\", {whose}, \"addresses\": [{v4:?}, \"fd7a::{node:x}\"] }},"
        )
        .unwrap();
    }
    Nodes::parse(&(text + "] }")).unwrap()
}
