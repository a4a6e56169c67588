//! A packet costs no allocation once buffers have grown to their size.

#[test]
fn no_step_of_a_packets_way_allocates() {
    for mut step in benches::steps() {
        let count = step.allocations_per_packet();
        assert!(count == 0.0, "{}/{}: {count} for each packet", step.group, step.name);
    }
}
