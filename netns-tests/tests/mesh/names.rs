//! Names of the mesh, as programs of a node's host find them.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use netns_tests::mesh::{MeshNode, RESOLV_CONF};
use netns_tests::wait_until;

use crate::scene::{DIRECT, Scene};

/// Whether a program on the node's host finds this name at this address.
fn finds(node: &MeshNode, name: &str, address: &str) -> bool {
    node.by_name(&["getent", "ahosts", name])
        .is_ok_and(|found| found.status.success() && found.stdout.contains(address))
}

#[test]
fn nodes_are_reached_by_name_and_the_host_gets_its_resolvers_back() -> Result<()> {
    let Scene { a: mut node, b: other, hub: _hub, lab: _lab } = Scene::new("mesh-names", DIRECT)?;
    let (own, address) = (node.address()?, other.address()?);
    wait_until(Duration::from_secs(10), "the other's name", || finds(&node, "b", &address));
    assert!(finds(&node, "b.home.mesh", &address));
    assert!(finds(&node, "a", &own));
    assert!(!finds(&node, "c.home.mesh", ""), "nobody is called so");
    for family in ["-4", "-6"] {
        wait_until(Duration::from_secs(10), "an answer to a ping by name", || {
            node.by_name(&["ping", family, "-c", "1", "-W", "1", "b.home.mesh"])
                .is_ok_and(|pinged| pinged.status.success())
        });
    }
    assert!(node.nearwire(&["status"])?.contains("*.home.mesh, answered at 169.254.53.53"));

    // Killed, it leaves the file; somebody gives it back, or the next daemon does.
    node.kill_daemon()?;
    assert_ne!(fs::read_to_string(node.resolv_conf())?, RESOLV_CONF);
    node.start_daemon()?;
    wait_until(Duration::from_secs(10), "the name again", || finds(&node, "b", &address));
    node.nearwire(&["down"])?;
    assert_eq!(fs::read_to_string(node.resolv_conf())?, RESOLV_CONF);
    Ok(())
}

#[test]
fn who_wants_no_names_keeps_the_resolvers() -> Result<()> {
    let Scene { a: node, b: other, hub, lab: _lab } = Scene::new("mesh-nameless", DIRECT)?;
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    node.up(&hub, &key, &["--no-names"])?;
    assert_eq!(fs::read_to_string(node.resolv_conf())?, RESOLV_CONF);
    assert!(node.status()?["resolver"].is_null());
    assert!(!finds(&node, "b.home.mesh", &other.address()?));
    Ok(())
}
