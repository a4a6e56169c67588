//! What commands answer: exit codes, JSON, and who may give them.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use anyhow::{Context as _, Result};
use netns_tests::Lab;
use netns_tests::mesh::{Hub, MeshNode};
use serde_json::{Value, json};

use crate::scene::{DIRECT, Scene};

/// What a command printed, and its exit code.
fn run(node: &MeshNode, words: &[&str]) -> Result<(Option<i32>, Value)> {
    let output = node.output(&[words, &["--json"]].concat())?;
    let printed = output.stdout.trim();
    let json = if printed.is_empty() { json!(output.stderr) } else { printed.parse()? };
    Ok((output.status.code(), json))
}

fn up(node: &MeshNode, hub: &Hub, more: &[&str]) -> Result<(Option<i32>, Value)> {
    let (url, ca) = (hub.url(), hub.ca());
    let words = ["up", "--control", &url, "--ca", &ca, "--hostname", &node.name];
    run(node, &[&words[..], more].concat())
}

#[test]
fn up_says_by_its_exit_code_how_the_node_is() -> Result<()> {
    let Scene { a, b, mut hub, lab } = Scene::new("mesh-codes", DIRECT)?;
    assert_eq!(up(&a, &hub, &[])?, (Some(0), json!({ "state": "connected" })));
    // Enrolled, and an operator has to approve it.
    let key = hub.auth_key(&["--manual-approval", "--tag", "tag:node"])?;
    let c = hub.node(&lab, "c")?;
    let (code, pending) = up(&c, &hub, &["--auth-key", &key])?;
    assert_eq!((code, &pending["state"]), (Some(3), &json!("pending")), "{pending}");
    hub.admin(&["nodes", "approve", "home", &c.id()?])?;
    c.wait_for("approval", |status| status["state"] == "connected");
    // Refused: by a key that is none, and by the command line itself.
    let (code, refused) = up(&b, &hub, &["--auth-key", "nwk_no_key"])?;
    assert_eq!(code, Some(1), "{refused}");
    assert_eq!(a.output(&["up", "--no-such-flag"])?.status.code(), Some(2));
    // A control plane that takes connections and says nothing.
    hub.mute_control(true)?;
    let (code, offline) = up(&a, &hub, &[])?;
    assert_eq!((code, &offline["state"]), (Some(4), &json!("offline")), "{offline}");
    hub.mute_control(false)?;
    a.wait_for("connected after all", |status| status["state"] == "connected");
    // One that is not there.
    hub.stop_control();
    let (code, offline) = up(&b, &hub, &[])?;
    assert_eq!((code, &offline["state"]), (Some(4), &json!("offline")), "{offline}");
    // To leave takes the control plane: the node is not forgotten here alone.
    let (code, refused) = run(&b, &["leave"])?;
    assert_eq!(code, Some(1), "{refused}");
    assert_eq!(b.status()?["state"], "offline");
    Ok(())
}

#[test]
fn up_shows_what_it_does_on_a_terminal_and_nowhere_else() -> Result<()> {
    let lab = Lab::new("mesh-progress")?;
    let mut hub = Hub::start(&lab, DIRECT)?;
    let a = hub.node(&lab, "a")?;
    let key = hub.auth_key(&["--tag", "tag:node"])?;
    let (url, ca) = (hub.url(), hub.ca());
    let words = ["up", "--control", &url, "--ca", &ca, "--hostname", "a", "--auth-key", &key];
    let shown = a.output_on_a_terminal(&words)?;
    let lines: Vec<&str> = shown.stdout.lines().map(str::trim).collect();
    let steps = [
        "enrolling ...",
        "enrolled as a in home ...",
        "making the interface ...",
        "connecting ...",
    ];
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    assert_eq!(lines.split_last(), Some((&"connected", &steps[..])), "{shown:?}");
    // A script reads the end alone.
    let plain = a.output(&words[..7])?;
    assert_eq!((plain.stdout.as_str(), plain.stderr.as_str()), ("connected\n", ""));
    hub.stop_control();
    let shown = a.output_on_a_terminal(&words[..7])?;
    assert!(shown.stdout.contains("connecting ..."), "{shown:?}");
    assert_eq!(shown.status.code(), Some(4), "{shown:?}");
    Ok(())
}

#[test]
fn a_node_goes_down_comes_back_and_leaves_for_good() -> Result<()> {
    let Scene { a, b, hub, lab: _lab } = Scene::new("mesh-leaves", DIRECT)?;
    let (code, rotating) = run(&b, &["rotate"])?;
    assert_eq!((code, &rotating["state"]), (Some(0), &json!("rotating")));
    assert_eq!(run(&b, &["down"])?, (Some(0), json!({ "state": "down" })));
    let (code, refused) = run(&b, &["rotate"])?;
    assert_eq!(code, Some(1), "{refused}");
    let id = {
        up(&b, &hub, &[])?;
        b.id()?
    };
    let (code, left) = run(&b, &["leave"])?;
    assert_eq!((code, &left["state"]), (Some(0), &json!("left")));
    a.wait_for("no peer", |status| status["peers"] == json!([]));
    let nodes = hub.admin_json(&["nodes", "list", "home"])?;
    assert!(!nodes.to_string().contains(&id), "{nodes}");
    assert!(hub.admin(&["audit", "home"])?.contains("node.leave"));
    // It is forgotten here, too: to come back takes a key, and it is another node then.
    assert_eq!(b.status()?["state"], "down");
    let (code, refused) = up(&b, &hub, &[])?;
    assert_eq!(code, Some(1), "{refused}");
    let key = hub.auth_key(&["--tag", "tag:node"])?;
    assert_eq!(up(&b, &hub, &["--auth-key", &key])?.0, Some(0));
    assert_ne!(b.id()?, id);
    Ok(())
}

#[test]
fn the_socket_is_roots_and_a_groups_if_one_is_named() -> Result<()> {
    /// Any group that root is not in.
    const GROUP: u32 = 54_321;
    let lab = Lab::new("mesh-socket")?;
    let hub = Hub::start(&lab, DIRECT)?;
    let mut node = hub.node(&lab, "a")?;
    let mode = |node: &MeshNode| {
        let socket = std::fs::metadata(node.socket())?;
        anyhow::Ok((socket.permissions().mode() & 0o777, socket.uid(), socket.gid()))
    };
    assert_eq!(mode(&node)?, (0o600, 0, 0));
    let state = std::fs::metadata(node.state_file().parent().unwrap_or(&node.socket()))?;
    assert_eq!(state.permissions().mode() & 0o777, 0o700);
    node.stop_daemon();
    node.group = Some(GROUP);
    node.start_daemon()?;
    assert_eq!(mode(&node)?, (0o660, 0, GROUP));
    // Who is of the group may connect, who is not may not.
    let socket = node.socket();
    let directory = socket.parent().context("a directory")?;
    std::fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    let may = |group: u32| {
        let (group, socket) = (format!("--regid={group}"), socket.display().to_string());
        let who = ["setpriv", "--reuid=65534", &group, "--clear-groups"];
        let may = node.host.output([&who[..], &["test", "-w", &socket]].concat())?;
        anyhow::Ok(may.status.success())
    };
    assert!(may(GROUP)? && !may(GROUP + 1)?);
    Ok(())
}
