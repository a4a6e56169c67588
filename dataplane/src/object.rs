//! The embedded objects, and the names of what is in them.

/// The policy's kernel half, as `cargo xtask build-ebpf` wrote it.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../ebpf/nearwire.bpf.o");

/// The steering's kernel half.
pub(crate) static STEERING: &[u8] = aya::include_bytes_aligned!("../ebpf/steering.bpf.o");

/// Programs, by the names of their functions in `dataplane-ebpf/src/policy.rs`.
pub(crate) const INGRESS: &str = "policy_ingress";
pub(crate) const EGRESS: &str = "policy_egress";
pub(crate) const NOTHING: &str = "nothing";

/// Maps, by the names of their statics in `dataplane-ebpf/src/maps.rs`.
pub(crate) const EXACT: &str = "EXACT";
pub(crate) const PREFIXES: &str = "PREFIXES";
pub(crate) const RULES: &str = "RULES";
pub(crate) const HEADS: &str = "HEADS";
pub(crate) const BASE: &str = "BASE";
pub(crate) const FLOWS: &str = "FLOWS";
pub(crate) const OPENING: &str = "OPENING";
pub(crate) const FRAGMENTS: &str = "FRAGMENTS";
pub(crate) const EVENTS: &str = "EVENTS";
pub(crate) const EVENTS_LOST: &str = "EVENTS_LOST";
pub(crate) const FLOW_HITS: &str = "FLOW_HITS";
pub(crate) const DROPS: &str = "DROPS";

/// The maps that are pinned: all of the policy's.
pub(crate) const PINNED: [&str; 12] = [
    EXACT,
    PREFIXES,
    RULES,
    HEADS,
    BASE,
    FLOWS,
    OPENING,
    FRAGMENTS,
    EVENTS,
    EVENTS_LOST,
    FLOW_HITS,
    DROPS,
];

/// Programs, by the names of their functions in `dataplane-ebpf/src/steering/`.
pub(crate) const STEER_TUNNEL: &str = "steer_tunnel";
pub(crate) const STEER_DATAGRAMS: &str = "steer_datagrams";

/// Maps, by the names of their statics in `dataplane-ebpf/src/steering/maps.rs`.
pub(crate) const PARAMETERS: &str = "PARAMETERS";
pub(crate) const NETWORKS: &str = "NETWORKS";
pub(crate) const SOCKETS: &str = "SOCKETS";
