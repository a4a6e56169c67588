//! Who is served, and how long.

use proto::lane::LaneId;

use super::*;

#[test]
fn only_a_good_ticket_and_its_own_key_admit() {
    let good = ticket(1, 1);
    let by = |signer, key: &SigningKey| proof(good.sign(ControlKeyId(signer), key), 1);
    let judge = |proof: &Proof| admit(&keys(), proof, &NONCE, &EXPORTER, EPOCH).map(|_| ());
    assert_eq!(judge(&by(1, &control())), Ok(()));
    assert_eq!(judge(&by(2, &control())), Err(Refusal::UnknownControlKey));
    assert_eq!(judge(&by(1, &signing_key(3))), Err(Refusal::ForgedTicket));
    // A stolen ticket, and a proof that was made for another connection.
    assert_eq!(admitted(&good, 2, EPOCH).map(|_| ()), Err(Refusal::BadProof));
    let right = by(1, &control());
    let elsewhere = |nonce, exporter| admit(&keys(), &right, nonce, exporter, EPOCH).map(|_| ());
    assert_eq!(elsewhere(&[7; 32], &EXPORTER), Err(Refusal::BadProof));
    assert_eq!(elsewhere(&NONCE, &[7; 32]), Err(Refusal::BadProof));
    assert_eq!(admitted(&good, 1, good.not_after).map(|_| ()), Err(Refusal::ExpiredTicket));
}

#[test]
fn several_control_keys_are_good_while_they_are_changed() {
    let next = signing_key(201);
    let keys: ControlKeys =
        [(ControlKeyId(1), control().verifying_key()), (ControlKeyId(2), next.verifying_key())]
            .into_iter()
            .collect();
    for (id, key) in [(1, control()), (2, next)] {
        let proof = proof(ticket(1, 1).sign(ControlKeyId(id), &key), 1);
        assert!(admit(&keys, &proof, &NONCE, &EXPORTER, EPOCH).is_ok());
    }
}

#[test]
fn expiry_ends_the_service_and_a_new_ticket_prolongs_it() {
    let mut scene = Scene::with_lanes();
    let short = Ticket { not_after: UnixSeconds(EPOCH.0 + 60), ..ticket(1, 1) };
    let [one, two] = [1, 2].map(|node| {
        scene.try_join(&Ticket { not_after: short.not_after, ..ticket(1, node) }, node).unwrap()
    });
    let renewed = admitted(&ticket(1, 2), 2, EPOCH).unwrap();
    scene.run(|relay, now, out| relay.renew(two, &renewed, now, out));
    scene.frame(one, &ClientFrame::OpenLane(node_key(2)));
    for _ in 0..7 {
        scene.pass(Duration::from_secs(10));
        scene.frame(one, &ClientFrame::Ping(1));
        scene.frame(two, &ClientFrame::Ping(1));
    }
    assert_eq!(scene.closed, [one]);
    let last = scene.frames(one).into_iter().rev().find(|f| !matches!(f, RelayFrame::Pong(_)));
    assert_eq!(last, Some(RelayFrame::Refused(Refusal::ExpiredTicket)));
    assert_eq!(scene.relay.totals().lanes, 0, "its lanes end with it");
    let lane_closed = |f: &RelayFrame<'_>| matches!(f, RelayFrame::LaneClosed(LaneId { .. }));
    assert!(scene.frames(two).iter().any(lane_closed));
}

#[test]
fn a_new_ticket_must_be_of_the_same_node() {
    let mut scene = Scene::new(Settings::default());
    let one = scene.join(1, 1);
    let other = admitted(&ticket(1, 2), 2, EPOCH).unwrap();
    scene.run(|relay, now, out| relay.renew(one, &other, now, out));
    assert_eq!(scene.frames(one), [RelayFrame::Refused(Refusal::BadProof)]);
    assert_eq!(scene.closed, [one]);
}

#[test]
fn the_later_connection_of_a_node_is_the_one() {
    let mut scene = Scene::new(Settings::default());
    let (first, sender) = (scene.join(1, 1), scene.join(1, 2));
    let second = scene.join(1, 1);
    assert_eq!(scene.frames(first), [RelayFrame::Refused(Refusal::Replaced)]);
    // The end of the old one, reported late, does not end the new one.
    scene.run(|relay, now, out| relay.leave(first, now.at, out));
    scene.send(sender, 1, b"hello", 5);
    assert_eq!(scene.packets(second).len(), 1);
    assert_eq!(scene.relay.totals().clients, 2);
}

#[test]
fn relay_and_network_have_limits() {
    let settings = Settings { clients: 3, network_clients: 2, ..Settings::default() };
    let mut scene = Scene::new(settings);
    scene.join(1, 1);
    let leaver = scene.join(1, 2);
    assert_eq!(scene.try_join(&ticket(1, 3), 3), Err(Refusal::NetworkFull));
    scene.join(2, 3);
    assert_eq!(scene.try_join(&ticket(2, 4), 4), Err(Refusal::Full));
    // One who is here may always come anew.
    scene.join(1, 1);
    scene.run(|relay, now, out| relay.leave(leaver, now.at, out));
    scene.join(2, 4);
    assert_eq!(scene.relay.totals().networks, 2);
}

#[test]
fn silence_ends_a_connection_after_a_question() {
    let mut scene = Scene::new(Settings::default());
    let (silent, alive) = (scene.join(1, 1), scene.join(1, 2));
    for _ in 0..5 {
        scene.pass(Duration::from_secs(10));
        scene.frame(alive, &ClientFrame::Pong(0));
    }
    assert_eq!(scene.closed, [silent]);
    let frames = scene.frames(silent);
    assert!(matches!(frames.first(), Some(RelayFrame::Ping(_))));
    assert_eq!(frames.last(), Some(&RelayFrame::Refused(Refusal::TimedOut)));
}

#[test]
fn a_relay_that_goes_away_says_so_first() {
    let mut scene = Scene::new(Settings::default());
    let one = scene.join(1, 1);
    scene.run(|relay, now, out| relay.drain(Duration::from_secs(5), now.at, out));
    assert_eq!(scene.frames(one), [RelayFrame::Drain(5000)]);
    assert_eq!(scene.try_join(&ticket(1, 2), 2), Err(Refusal::Draining));
    scene.pass(Duration::from_secs(4));
    assert!(!scene.ended && scene.closed.is_empty());
    scene.pass(Duration::from_secs(1));
    assert!(scene.ended);
    assert_eq!(scene.frames(one), [RelayFrame::Refused(Refusal::Draining)]);
}
