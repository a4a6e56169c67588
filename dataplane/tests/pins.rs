//! A policy that outlives its daemon, and the next daemon that takes it over.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dataplane::{Action, Direction, Pins, PolicyPrograms, TunnelPolicy};
use rustix::mount::{UnmountFlags, unmount};
use support::{
    TCP, compiled, ip as packet,
    namespace::{in_namespace, ip},
    ports,
};

const WEB: &str =
    r#"{ "action": "accept", "src": ["10.0.0.7"], "dst": ["10.0.0.2:80"], "proto": "tcp" }"#;

/// A directory that becomes a BPF file system, and is none when the test is over.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("nearwire-{name}-{}", std::process::id())))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Not mounted is as good.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

/// Runs with a root of its own, in a namespace of its own with a TUN device.
fn with_tunnel(
    name: &'static str,
    interface: &'static str,
    test: impl FnOnce(&Path) + Send + 'static,
) {
    in_namespace(move || {
        ip(&format!("tuntap add dev {interface} mode tun"));
        let root = Root::new(name);
        test(&root.0);
    });
}

fn attach(root: &Path, interface: &str, rules: &str) -> (Pins, TunnelPolicy) {
    let pins = Pins::at(root, interface).unwrap_or_else(|error| panic!("{error}"));
    let policy = TunnelPolicy::attach(interface, &compiled(rules), Some(&pins));
    (pins, policy.unwrap_or_else(|error| panic!("{error}")))
}

/// Programs attached to the interface, as the kernel counts them.
fn attached(interface: &str) -> usize {
    use aya::programs::{SchedClassifier, TcAttachType};
    [TcAttachType::Ingress, TcAttachType::Egress]
        .map(|direction| SchedClassifier::query_tcx(interface, direction).unwrap().1.len())
        .iter()
        .sum()
}

#[test]
fn what_is_pinned_stays_and_is_taken_over() {
    // A dot in a name is more than the file system can bear.
    with_tunnel("takeover", "nw.0", |root| {
        let (_, first) = attach(root, "nw.0", WEB);
        assert_eq!(first.programs().generation().0, 1);
        drop(first);
        assert_eq!(attached("nw.0"), 2, "enforced without a daemon");

        let pins = Pins::at(root, "nw.0").unwrap();
        assert!(pins.hold_a_policy());
        // Somebody's packets while nobody looks after the programs.
        let programs = PolicyPrograms::load_pinned(&compiled(WEB), &pins).unwrap();
        let syn = packet("10.0.0.7", "10.0.0.2", TCP, &syn(40_000, 80));
        assert_eq!(programs.judge(Direction::In, &syn).unwrap(), Action::Pass);
        drop(programs);

        let (pins, second) = attach(root, "nw.0", WEB);
        assert_eq!(second.programs().generation().0, 3, "generations go on");
        assert_eq!(second.programs().flow_count(), 1, "flows stay known");
        assert_eq!(attached("nw.0"), 2, "replaced, not added");

        drop(second);
        pins.remove().unwrap();
        // The kernel lets go of a removed file's link in its own time.
        let deadline = Instant::now() + Duration::from_secs(10);
        while attached("nw.0") > 0 {
            assert!(Instant::now() < deadline, "still enforced");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!Pins::at(root, "nw.0").unwrap().hold_a_policy());
    });
}

#[test]
fn a_link_of_an_interface_that_is_gone_is_replaced() {
    with_tunnel("gone", "nw0", |root| {
        drop(attach(root, "nw0", WEB));
        ip("link del nw0");
        ip("tuntap add dev nw0 mode tun");
        let (_, policy) = attach(root, "nw0", WEB);
        assert_eq!(policy.programs().generation().0, 2);
        assert_eq!(attached("nw0"), 2);
    });
}

#[test]
fn another_layout_is_not_taken_over() {
    with_tunnel("layout", "nw0", |root| {
        let (pins, policy) = attach(root, "nw0", WEB);
        drop(policy);
        let current = fs::read_dir(pins.directory()).unwrap().next().unwrap().unwrap().path();
        fs::rename(&current, pins.directory().join("layout-0")).unwrap();
        assert!(!pins.hold_a_policy());
        let (_, policy) = attach(root, "nw0", WEB);
        assert_eq!(policy.programs().generation().0, 1, "begun anew");
        assert_eq!(attached("nw0"), 2);
    });
}

#[test]
fn interfaces_and_namespaces_do_not_share() {
    with_tunnel("share", "nw0", |root| {
        let here = Pins::at(root, "nw0").unwrap();
        let other = Pins::at(root, "nw1").unwrap();
        assert_ne!(here.directory(), other.directory());
        let root = root.to_owned();
        let elsewhere = std::thread::spawn(move || {
            let (sender, receiver) = std::sync::mpsc::channel();
            in_namespace(move || sender.send(Pins::at(&root, "nw0").unwrap()).unwrap());
            receiver.recv().unwrap()
        });
        assert_ne!(here.directory(), elsewhere.join().unwrap().directory());
    });
}

#[test]
fn a_root_that_cannot_be_had_is_named() {
    in_namespace(|| {
        let error = Pins::at(Path::new("/proc/nowhere"), "nw0").unwrap_err();
        assert!(error.to_string().contains("/proc/nowhere"), "{error}");
    });
}

fn syn(from: u16, to: u16) -> Vec<u8> {
    let mut header = ports(from, to);
    header.resize(20, 0);
    header[12] = 0x50;
    header[13] = 0x02;
    header
}
