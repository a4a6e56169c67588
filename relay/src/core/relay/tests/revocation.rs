//! Whom the control plane takes the right from.

use proto::control::{RevocationFrame, Revoked};

use super::*;

fn revoked(network: u8, node: Option<u8>) -> Revoked {
    Revoked { network: NetworkId([network; 16]), identity: node.map(identity) }
}

fn out(who: Revoked) -> RevocationFrame {
    RevocationFrame { revoked: vec![who], ..RevocationFrame::default() }
}

#[test]
fn a_revoked_node_is_out_with_its_lanes_and_does_not_come_back() {
    let mut scene = Scene::with_lanes();
    let [one, two] = [1, 2].map(|node| scene.try_join(&ticket(1, node), node).unwrap());
    scene.frame(one, &ClientFrame::OpenLane(node_key(2)));
    assert_eq!(scene.relay.totals().lanes, 1);
    let frame = out(revoked(1, Some(1)));
    scene.run(|relay, now, out| relay.revoke(&frame, now.at, out));
    assert_eq!(scene.closed, [one]);
    assert_eq!(scene.frames(one).pop(), Some(RelayFrame::Refused(Refusal::Revoked)));
    let lane_closed = |frame: &RelayFrame<'_>| matches!(frame, RelayFrame::LaneClosed(_));
    assert!(scene.frames(two).iter().any(lane_closed));
    assert_eq!((scene.relay.totals().lanes, scene.relay.totals().clients), (0, 1));
    assert_eq!(scene.try_join(&ticket(1, 1), 1), Err(Refusal::Revoked));
    // Another network's node of the same key is another node.
    assert!(scene.try_join(&ticket(2, 1), 1).is_ok());

    let back = RevocationFrame { restored: vec![revoked(1, Some(1))], ..Default::default() };
    scene.run(|relay, now, out| relay.revoke(&back, now.at, out));
    assert!(scene.try_join(&ticket(1, 1), 1).is_ok());
}

#[test]
fn a_network_that_is_gone_takes_all_its_nodes_along() {
    let mut scene = Scene::with_lanes();
    let [one, two] = [1, 2].map(|node| scene.try_join(&ticket(1, node), node).unwrap());
    let other = scene.try_join(&ticket(2, 3), 3).unwrap();
    let frame = out(revoked(1, None));
    scene.run(|relay, now, out| relay.revoke(&frame, now.at, out));
    let mut closed = scene.closed.clone();
    closed.retain(|client| *client != other);
    assert_eq!((closed.len(), scene.closed.len()), (2, 2), "{one:?} {two:?}");
    assert_eq!(scene.relay.totals().networks, 1);
    // What is said anew replaces what was said before.
    let anew = RevocationFrame { anew: true, ..RevocationFrame::default() };
    scene.run(|relay, now, out| relay.revoke(&anew, now.at, out));
    assert!(scene.try_join(&ticket(1, 1), 1).is_ok());
}

#[test]
fn a_new_ticket_does_not_help_and_the_identity_counts_that_proved_itself_last() {
    let mut scene = Scene::with_lanes();
    let one = scene.try_join(&ticket(1, 1), 1).unwrap();
    // It has renewed its node key, and the old one's right is taken.
    let renewed = Ticket { identity: identity(9), ..ticket(1, 1) };
    let by_new = admitted(&renewed, 9, EPOCH).unwrap();
    scene.run(|relay, now, out| relay.renew(one, &by_new, now, out));
    let frame = out(revoked(1, Some(1)));
    scene.run(|relay, now, out| relay.revoke(&frame, now.at, out));
    assert!(scene.closed.is_empty());
    let by_old = admitted(&ticket(1, 1), 1, EPOCH).unwrap();
    scene.run(|relay, now, out| relay.renew(one, &by_old, now, out));
    assert_eq!(scene.closed, [one]);
}
