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
fn nodes_are_found_by_name_and_the_host_gets_its_resolvers_back() -> Result<()> {
    let Scene { a: node, b: other, .. } = Scene::new("mesh-names", DIRECT)?;
    let (own, address) = (node.address()?, other.address()?);
    wait_until(Duration::from_secs(10), "the other's name", || finds(&node, "b", &address));
    assert!(finds(&node, "b.home.mesh", &address));
    assert!(finds(&node, "a", &own));
    assert!(!finds(&node, "c.home.mesh", ""), "nobody is called so");
    assert!(node.nearwire(&["status"])?.contains("*.home.mesh, answered at 169.254.53.53"));

    assert_ne!(fs::read_to_string(node.resolv_conf())?, RESOLV_CONF);
    node.nearwire(&["down"])?;
    assert_eq!(fs::read_to_string(node.resolv_conf())?, RESOLV_CONF);
    Ok(())
}

#[test]
fn who_wants_no_names_keeps_the_resolvers() -> Result<()> {
    let Scene { a: node, b: other, hub, .. } = Scene::new("mesh-nameless", DIRECT)?;
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    node.up(&hub, &key, &["--no-names"])?;
    assert_eq!(fs::read_to_string(node.resolv_conf())?, RESOLV_CONF);
    assert!(node.status()?["resolver"].is_null());
    assert!(!finds(&node, "b.home.mesh", &other.address()?));
    Ok(())
}
