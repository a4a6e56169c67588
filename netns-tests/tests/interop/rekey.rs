//! New sessions for old: by the clock, by a restart of the other end, by a new key.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dataplane_common::DropReason;
use netns_tests::wireguard::{
    INITIATION_INTERVAL, INNER_A, INNER_B, Implementation, KeyPair, OUTER_B, Pairing, PeerSettings,
    Tunnel,
};
use netns_tests::{Pinger, answers, ping, wait_until};

use crate::{SOON, pair, wired, with_each_implementation};

with_each_implementation!(
    a_restarted_end_that_speaks_is_back_at_once,
    a_peer_removed_and_added_shakes_hands_anew,
    ours_gets_another_key,
);

/// Both ends of the protocol rekey after 120 s; whose session it is begins.
const LONGER_THAN_A_SESSION: Duration = Duration::from_secs(125);
/// An end that is never answered is greeted anew after 15 s; one retry on top.
const FOUND_WITHIN: Duration = Duration::from_secs(25);

fn settings(side: &[&str; 2]) -> (String, Option<std::net::IpAddr>) {
    let [v4, v6] = side;
    (format!("{v4}/32,{v6}/128"), OUTER_B[0].parse().ok())
}

/// Configures a tunnel that was restarted; `endpoint`: whether it knows where the other is.
fn configure_again(tunnel: &Tunnel<'_>, other: &Tunnel<'_>, ours: bool, knows: bool) -> Result<()> {
    let ([v4, v6], far) = if ours { (INNER_A, INNER_B) } else { (INNER_B, INNER_A) };
    tunnel.configure(&[&format!("{v4}/24"), &format!("{v6}/64")])?;
    let (allowed_ips, _) = settings(&far);
    let endpoint = if ours { Pairing::over_v4().endpoint_b } else { Pairing::over_v4().endpoint_a };
    let endpoint = endpoint.filter(|_| knows);
    tunnel.add_peer(
        other,
        &PeerSettings { allowed_ips: &allowed_ips, endpoint, ..PeerSettings::default() },
    )
}

/// The other end dies and forgets all; its own traffic makes the new session.
fn a_restarted_end_that_speaks_is_back_at_once(theirs: Implementation) -> Result<()> {
    let hosts = wired("speaks")?;
    let [ours, mut theirs] = pair(&hosts, theirs, Pairing::over_v4())?;
    ping(&hosts[0], INNER_B[0])?;
    for _ in 0..3 {
        theirs.restart()?;
        configure_again(&theirs, &ours, false, true)?;
        ping(&hosts[1], INNER_A[0])?;
        ping(&hosts[0], INNER_B[0])?;
    }
    Ok(())
}

/// One end dies, forgets all and stays silent: the other notices that it is not answered.
#[test]
fn a_restarted_end_that_is_silent_is_found_again() -> Result<()> {
    with_all_at_once(|theirs, ours_restarts| {
        let hosts = wired("found")?;
        let [mut ours, mut theirs] = pair(&hosts, theirs, Pairing::over_v4())?;
        let (from, to) =
            if ours_restarts { (&hosts[1], INNER_A[0]) } else { (&hosts[0], INNER_B[0]) };
        let pinger = Pinger::start(from, to, Duration::from_millis(200))?;
        if ours_restarts {
            ours.restart()?;
            configure_again(&ours, &theirs, true, false)?;
        } else {
            theirs.restart()?;
            configure_again(&theirs, &ours, false, false)?;
        }
        pinger.wait_for_more(3, FOUND_WITHIN)
    })
}

fn a_peer_removed_and_added_shakes_hands_anew(theirs: Implementation) -> Result<()> {
    let hosts = wired("added")?;
    let [ours, theirs] = pair(&hosts, theirs, Pairing::over_v4())?;
    ping(&hosts[0], INNER_B[0])?;
    let (allowed_ips, endpoint) = settings(&INNER_B);
    for _ in 0..3 {
        ours.remove_peer(&theirs)?;
        std::thread::sleep(INITIATION_INTERVAL);
        let again = PeerSettings { allowed_ips: &allowed_ips, endpoint, ..PeerSettings::default() };
        ours.add_peer(&theirs, &again)?;
        assert_eq!(ours.peer(&theirs)?.latest_handshake, 0);
        ping(&hosts[0], INNER_B[0])?;
        assert!(ours.peer(&theirs)?.latest_handshake > 0);
    }
    Ok(())
}

fn ours_gets_another_key(theirs: Implementation) -> Result<()> {
    let hosts = wired("key")?;
    let [ours, theirs] = pair(&hosts, theirs, Pairing::over_v4())?;
    ping(&hosts[0], INNER_B[0])?;
    // The same key again is no change: the session stays.
    let before = ours.peer(&theirs)?;
    ours.set_private_key(&ours.keys().private)?;
    ping(&hosts[0], INNER_B[0])?;
    assert_eq!(ours.peer(&theirs)?.latest_handshake, before.latest_handshake);
    let fresh = KeyPair::generate()?;
    ours.set_private_key(&fresh.private)?;
    assert!(!answers(&hosts[0], INNER_B[0], Duration::from_millis(500))?);
    theirs.remove_peer(&ours)?;
    theirs.set(["peer", &fresh.public, "allowed-ips", "10.9.0.1/32"])?;
    // The handshake is tried again every five seconds.
    wait_until(SOON, "traffic with the new key", || {
        answers(&hosts[0], INNER_B[0], Duration::from_secs(1)).unwrap_or(false)
    });
    Ok(())
}

#[test]
fn a_session_is_replaced_by_the_clock_without_a_loss() -> Result<()> {
    with_all_at_once(is_replaced)
}

/// Nobody answers: the packets that wait are dropped, and that is counted.
#[test]
fn a_handshake_is_given_up_by_the_clock() -> Result<()> {
    let hosts = wired("given-up")?;
    let tunnel = Tunnel::start(&hosts[0], Implementation::Nearwire)?;
    tunnel.configure(&["10.9.0.1/24"])?;
    let silent = KeyPair::generate()?;
    let endpoint = format!("{}:9", OUTER_B[0]);
    tunnel.set(["peer", &silent.public, "allowed-ips", "10.9.0.2/32", "endpoint", &endpoint])?;
    assert!(!answers(&hosts[0], "10.9.0.2", Duration::from_millis(100))?);
    let reason = DropReason::HandshakeTimeout.label();
    wait_until(Duration::from_secs(110), reason, || tunnel.dropped(reason).is_ok_and(|n| n > 0));
    Ok(())
}

/// All implementations at once, each in both roles: one wait for all.
fn with_all_at_once(test: impl Fn(Implementation, bool) -> Result<()> + Sync) -> Result<()> {
    let test = &test;
    std::thread::scope(|scope| {
        let running: Vec<_> = Implementation::ALL
            .into_iter()
            .flat_map(|theirs| [(theirs, true), (theirs, false)])
            .map(|(theirs, role)| {
                scope.spawn(move || {
                    test(theirs, role).with_context(|| format!("{theirs:?}, ours first: {role}"))
                })
            })
            .collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("a pair"))
    })
}

fn is_replaced(theirs: Implementation, ours_begins: bool) -> Result<()> {
    let hosts = wired("clock")?;
    let pairing = Pairing::over_v4();
    let pairing = if ours_begins {
        Pairing { endpoint_a: None, ..pairing }
    } else {
        Pairing { endpoint_b: None, ..pairing }
    };
    let [ours, theirs] = pair(&hosts, theirs, pairing)?;
    let (from, to) = if ours_begins { (&hosts[0], INNER_B[0]) } else { (&hosts[1], INNER_A[0]) };
    let started = Instant::now();
    let pinger = Pinger::start(from, to, Duration::from_millis(250))?;
    let handshakes = || -> Result<[u64; 2]> {
        Ok([ours.peer(&theirs)?.latest_handshake, theirs.peer(&ours)?.latest_handshake])
    };
    let limit = LONGER_THAN_A_SESSION + SOON;
    for [one, other] in [[&ours, &theirs], [&theirs, &ours]] {
        one.wait_for_peer(other, SOON, "the first handshake", |peer| peer.latest_handshake > 0)?;
    }
    let first = handshakes()?;
    wait_until(limit, "a second handshake at both ends", || {
        handshakes().is_ok_and(|now| now.iter().zip(first).all(|(now, first)| *now > first + 60))
    });
    assert!(started.elapsed() > Duration::from_secs(100), "a session ended too soon");
    pinger.wait_for_more(8, SOON)?;
    let count = pinger.finish()?;
    assert!(count.lost() <= 1, "{count:?}");
    Ok(())
}
