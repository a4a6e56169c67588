//! From a policy's text to its tables.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use policy::{Document, compile};

/// Rules that each give one host a port on another.
fn document(rules: u32) -> String {
    let mut text = String::from("{ \"acls\": [\n");
    for rule in 0..rules {
        let (high, low) = (rule >> 8, rule & 0xff);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{{ \"action\": \"accept\", \"src\": [\"10.0.{high}.{low}\"], \
             \"dst\": [\"10.1.{high}.{low}:443\"], \"proto\": \"tcp\" }},"
        );
    }
    text + "] }"
}

fn policies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    for rules in [10, 1_000] {
        let text = document(rules);
        group.bench_function(format!("parse_{rules}_rules"), |bencher| {
            bencher.iter(|| black_box(Document::parse(&text)));
        });
        let document = Document::parse(&text).expect("a valid document");
        group.bench_function(format!("compile_{rules}_rules"), |bencher| {
            bencher.iter(|| black_box(compile(&document)));
        });
    }
}

criterion_group!(benches, policies);
criterion_main!(benches);
