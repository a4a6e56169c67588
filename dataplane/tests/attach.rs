//! The policy on a TUN device, in a network namespace that ends with its thread.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::process::Command;

use dataplane::{AttachKind, Error, TunnelPolicy};
use support::{
    compiled,
    namespace::{in_namespace, ip},
};

/// Runs in a namespace of its own with a TUN device `nw0`.
fn with_tunnel(test: impl FnOnce() + Send + 'static) {
    in_namespace(|| {
        ip("tuntap add dev nw0 mode tun");
        ip("link set nw0 up");
        test();
    });
}

/// The running kernel's version.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn attaches_by_tcx_where_the_kernel_has_it() {
    with_tunnel(|| {
        let policy =
            TunnelPolicy::attach("nw0", &compiled(""), None).unwrap_or_else(|e| panic!("{e}"));
        let expected = if kernel() >= (6, 6) { AttachKind::Tcx } else { AttachKind::Clsact };
        assert_eq!(policy.attach_kind(), expected);
        assert_eq!(policy.counters().unwrap().flow_hits, 0);
    });
}

#[test]
fn attaches_by_clsact_and_leaves_nothing() {
    with_tunnel(|| {
        let mut policy = TunnelPolicy::attach_clsact("nw0", &compiled(""), None)
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(policy.attach_kind(), AttachKind::Clsact);
        let before = policy.generation();
        assert_eq!(policy.apply(&compiled("")).unwrap().0, before.0 + 1);
        let filters = || {
            let output =
                Command::new("tc").args(["filter", "show", "dev", "nw0", "ingress"]).output();
            String::from_utf8(output.expect("`tc` of iproute2").stdout).unwrap()
        };
        assert!(filters().contains("policy_ingress"), "{}", filters());
        drop(policy);
        assert!(!filters().contains("policy_ingress"), "{}", filters());
    });
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    with_tunnel(|| {
        let error = TunnelPolicy::attach("nw9", &compiled(""), None).unwrap_err();
        assert!(matches!(error, Error::Attach { .. }), "{error}");
        assert!(error.to_string().contains("nw9"), "{error}");
    });
}
