//! The embedded object, and the names of what is in it.

/// The kernel half, as `cargo xtask build-ebpf` wrote it.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../ebpf/nearwire.bpf.o");

/// Programs, by the names of their functions in `dataplane-ebpf/src/policy.rs`.
pub(crate) const INGRESS: &str = "policy_ingress";
pub(crate) const EGRESS: &str = "policy_egress";

/// Maps, by the names of their statics in `dataplane-ebpf/src/maps.rs`.
pub(crate) const POLICY: &str = "POLICY";
pub(crate) const GENERATION: &str = "GENERATION";
pub(crate) const FLOWS: &str = "FLOWS";
pub(crate) const RULES: &str = "RULES";
pub(crate) const FLOW_HITS: &str = "FLOW_HITS";
pub(crate) const DROPS: &str = "DROPS";
