//! The packet path: no step may allocate, then each is timed.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Where `cargo xtask bench micro` finds the allocations.
const ALLOCATIONS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/allocations.json");

fn packet_path(criterion: &mut Criterion) {
    let mut steps = benches::steps();
    let mut allocations = BTreeMap::new();
    for step in &mut steps {
        let name = format!("{}/{}", step.group, step.name);
        let count = step.allocations_per_packet();
        assert!(count == 0.0, "{name}: {count} allocations for each packet");
        allocations.insert(name, count);
    }
    let json = serde_json::to_string_pretty(&allocations).expect("names and numbers");
    fs::write(ALLOCATIONS, json).expect("a target directory");

    for mut step in steps {
        let mut group = criterion.benchmark_group(step.group);
        group.throughput(Throughput::Elements(step.packets));
        group.bench_function(step.name, |bencher| bencher.iter_custom(|rounds| step.time(rounds)));
    }
}

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group!(name = benches; config = config(); targets = packet_path);
criterion_main!(benches);
