//! What is outside of the mesh: networks behind a node, and the world by an exit node.

use std::time::Duration;

use anyhow::Result;
use netns_tests::mesh::{Hub, MeshNode};
use netns_tests::{Host, answers, tcp_transfer, wait_until};

use crate::scene::{DIRECT, RELAYED, Scene};

const SOON: Duration = Duration::from_secs(20);
const BRIEFLY: Duration = Duration::from_millis(700);
/// A host of the world, as seen from the exit node's link to it.
const WORLD: [&str; 2] = ["198.51.100.1", "2001:db8:5::1"];
/// A private network beside it.
const PRIVATE: &str = "172.16.9.1";

/// Everybody may reach every node, and the Internet; nothing else.
const INTERNET: &str = r#"{
    "tagOwners": { "tag:node": ["u@example.com"] },
    "acls": [
        { "action": "accept", "src": ["tag:node"], "dst": ["tag:node:*", "autogroup:internet:*"] },
    ],
}"#;

fn up(node: &MeshNode, hub: &Hub, more: &[&str]) -> Result<String> {
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    node.up(hub, &key, more)
}

fn approve(hub: &Hub, node: &MeshNode, routes: &[&str]) -> Result<()> {
    let id = node.id()?;
    let words = [&["nodes", "routes", "home", &id], routes].concat();
    hub.admin(&words)?;
    Ok(())
}

fn forward(host: &Host) -> Result<()> {
    host.sysctl("net.ipv4.ip_forward", "1")?;
    host.sysctl("net.ipv6.conf.all.forwarding", "1")
}

/// The host's routing rules.
fn rules(node: &MeshNode) -> Result<String> {
    let of = |family: &str| Ok::<_, anyhow::Error>(node.host.ip([family, "rule"])?.stdout);
    Ok(format!("{}{}", of("-4")?, of("-6")?))
}

fn reaches(from: &MeshNode, address: &str) {
    let what = format!("{} reaches {address}", from.name);
    wait_until(SOON, &what, || answers(&from.host, address, BRIEFLY).unwrap_or(false));
}

fn reaches_not(from: &MeshNode, address: &str) -> Result<()> {
    for _ in 0..2 {
        assert!(!answers(&from.host, address, BRIEFLY)?, "{} reaches {address}", from.name);
    }
    Ok(())
}

/// The world, which a reaches through b, over IPv4.
fn through_b(Scene { a, b, hub, lab }: &Scene) -> Result<Host> {
    let world = lab.host("world")?;
    lab.link(&b.host, &world).at_a(&["198.51.100.254/24"]).at_b(&["198.51.100.1/24"]).veth()?;
    forward(&b.host)?;
    hub.policy(INTERNET)?;
    up(b, hub, &["--advertise-exit-node"])?;
    approve(hub, b, &["0.0.0.0/0"])?;
    up(a, hub, &["--exit-node", "b"])?;
    reaches(a, WORLD[0]);
    Ok(world)
}

#[test]
fn a_network_behind_a_node_is_reached_by_who_accepts_it() -> Result<()> {
    let Scene { a, b, hub, lab } = Scene::new("mesh-subnet", DIRECT)?;
    let behind = lab.host("behind")?;
    lab.link(&b.host, &behind).at_a(&["10.77.0.254/24"]).at_b(&["10.77.0.1/24"]).veth()?;
    behind.route("100.64.0.0/10", "10.77.0.254")?;
    forward(&b.host)?;
    up(&b, &hub, &["--advertise-routes", "10.77.0.0/24"])?;
    reaches_not(&a, "10.77.0.1")?;
    approve(&hub, &b, &["10.77.0.0/24"])?;
    a.wait_for("a reason", |status| {
        status["refused_routes"].to_string().contains("does not accept routes")
    });
    up(&a, &hub, &["--accept-routes"])?;
    reaches(&a, "10.77.0.1");
    tcp_transfer(&a.host, &behind, "10.77.0.1".parse()?, 4 << 20, SOON)?;
    approve(&hub, &b, &[])?;
    a.wait_for("no route", |status| !status["routes"].to_string().contains("10.77"));
    reaches_not(&a, "10.77.0.1")
}

#[test]
fn of_routes_the_longest_prefix_counts_and_no_route_is_two_nodes() -> Result<()> {
    let Scene { a, b, hub, lab } = Scene::new("mesh-overlap", DIRECT)?;
    let c = hub.node(&lab, "c")?;
    // Their namespaces live as long as these do.
    let mut all_behind = Vec::new();
    for (node, net) in [(&b, "10.77.0"), (&c, "10.77.9")] {
        let behind = lab.host(&format!("behind {}", node.name))?;
        let link = lab.link(&node.host, &behind);
        link.at_a(&[&format!("{net}.254/24")]).at_b(&[&format!("{net}.1/24")]).veth()?;
        behind.route("100.64.0.0/10", &format!("{net}.254"))?;
        all_behind.push(behind);
        forward(&node.host)?;
    }
    up(&b, &hub, &["--advertise-routes", "10.77.0.0/16"])?;
    up(&c, &hub, &["--advertise-routes", "10.77.0.0/16,10.77.9.0/24"])?;
    up(&a, &hub, &["--accept-routes"])?;
    approve(&hub, &b, &["10.77.0.0/16"])?;
    let refused = approve(&hub, &c, &["10.77.0.0/16"]).unwrap_err().to_string();
    assert!(refused.contains("10.77.0.0/16 is approved for b"), "{refused}");
    reaches(&a, "10.77.0.1");
    reaches_not(&a, "10.77.9.1")?;
    approve(&hub, &c, &["10.77.9.0/24"])?;
    reaches(&a, "10.77.9.1");
    reaches(&a, "10.77.0.1");
    assert_eq!(a.status()?["refused_routes"], serde_json::json!([]));
    // Taken from the one, it can be the other's.
    approve(&hub, &b, &[])?;
    approve(&hub, &c, &["10.77.0.0/16"])?;
    reaches(&a, "10.77.9.1");
    reaches_not(&a, "10.77.0.1")
}

#[test]
fn the_world_is_reached_by_an_exit_node_as_far_as_the_policy_goes() -> Result<()> {
    let Scene { a, b, hub, lab } = Scene::new("mesh-exit", DIRECT)?;
    let world = lab.host("world")?;
    // It knows no way back into the mesh, nor to a: what it answers, it answers to b.
    lab.link(&b.host, &world)
        .at_a(&["198.51.100.254/24", "2001:db8:5::254/64", "172.16.9.254/24"])
        .at_b(&["198.51.100.1/24", "2001:db8:5::1/64", "172.16.9.1/24"])
        .veth()?;
    forward(&b.host)?;
    hub.policy(INTERNET)?;
    for address in WORLD {
        reaches_not(&a, address)?;
    }

    // Asked for before there is one: nothing leaves by another way, and that is said.
    up(&a, &hub, &["--exit-node", "b"])?;
    a.wait_for("what is missing", |status| {
        status["warnings"].to_string().contains("--advertise-exit-node")
    });
    up(&b, &hub, &["--advertise-exit-node"])?;
    approve(&hub, &b, &["0.0.0.0/0", "::/0"])?;
    for address in WORLD {
        reaches(&a, address);
    }
    reaches_not(&a, PRIVATE)?;
    tcp_transfer(&a.host, &world, WORLD[0].parse()?, 8 << 20, SOON)?;
    // The mesh itself, and the line to the control plane, go on.
    reaches(&a, &b.address()?);
    a.wait_for_path("b", "direct");
    hub.policy(&INTERNET.replace("tag:node:*", "tag:node:22"))?;
    a.wait_for("news", |status| status["state"] == "connected");
    hub.policy(INTERNET)?;
    assert_eq!(a.status()?["warnings"].to_string(), "[]");

    // No circle: who is one uses none.
    let both =
        b.output(&["up", "--control", &hub.url(), "--exit-node", "a", "--advertise-exit-node"])?;
    assert_eq!(both.status.code(), Some(2), "{}", both.stderr);

    assert!(rules(&a)?.contains("0x6e77"), "{}", rules(&a)?);
    let masquerades = || Ok::<_, anyhow::Error>(b.host.run(["nft", "list", "ruleset"])?.stdout);
    assert!(masquerades()?.contains("masquerade"));
    up(&a, &hub, &[])?;
    for address in WORLD {
        reaches_not(&a, address)?;
    }
    assert!(!rules(&a)?.contains("0x6e77"), "{}", rules(&a)?);
    b.nearwire(&["down"])?;
    assert!(!masquerades()?.contains("masquerade"), "{}", masquerades()?);
    Ok(())
}

#[test]
fn an_exit_node_is_used_over_a_relay_and_through_a_break_of_the_control_plane() -> Result<()> {
    let mut scene = Scene::new("mesh-exit-relay", RELAYED)?;
    let _world = through_b(&scene)?;
    let Scene { a, hub, .. } = &mut scene;
    a.wait_for_path("b", "relay");
    hub.stop_control();
    a.wait_for("offline", |status| status["state"] == "offline");
    reaches(a, WORLD[0]);
    // Killed, and started anew: what it left is taken over.
    a.kill_daemon()?;
    a.start_daemon()?;
    hub.start_control()?;
    a.wait_for("connected again", |status| status["state"] == "connected");
    reaches(a, WORLD[0]);
    Ok(())
}

#[test]
fn an_interface_that_is_deleted_leaves_no_rule_and_the_next_has_them_again() -> Result<()> {
    let scene = Scene::new("mesh-exit-deleted", DIRECT)?;
    let _world = through_b(&scene)?;
    let Scene { a, hub, .. } = &scene;
    assert!(rules(a)?.contains("0x6e77"), "{}", rules(a)?);
    let interface = a.status()?["interface"].as_str().unwrap_or_default().to_owned();
    a.host.ip(["link", "del", &interface])?;
    wait_until(SOON, "the rules are gone", || {
        rules(a).is_ok_and(|rules| !rules.contains("0x6e77"))
    });
    up(a, hub, &["--exit-node", "b"])?;
    reaches(a, WORLD[0]);
    Ok(())
}
