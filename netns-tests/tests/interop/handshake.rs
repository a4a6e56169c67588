//! Who begins, over which family, with and without a preshared key.

use std::time::Duration;

use anyhow::Result;
use netns_tests::wireguard::{
    INNER_A, INNER_B, Implementation, KeyFile, OUTER_A, OUTER_B, Pairing, Tunnel, preshared_key,
};
use netns_tests::{Host, answers, ping, ping_sized};

use crate::{SOON, pair, wired, with_each_implementation};

with_each_implementation!(
    ours_begins_over_v4,
    ours_begins_over_v6,
    theirs_begins_over_v4,
    theirs_begins_over_v6,
    both_begin_at_once,
    another_preshared_key_is_no_handshake,
);

fn ours_begins_over_v4(theirs: Implementation) -> Result<()> {
    let to = OUTER_B[0].parse()?;
    meets(theirs, Pairing { preshared: true, ..Pairing::to(to) })
}

fn ours_begins_over_v6(theirs: Implementation) -> Result<()> {
    meets(theirs, Pairing::to(OUTER_B[1].parse()?))
}

fn theirs_begins_over_v4(theirs: Implementation) -> Result<()> {
    meets(theirs, Pairing { endpoint_a: Some(OUTER_A[0].parse()?), ..Pairing::NONE })
}

fn theirs_begins_over_v6(theirs: Implementation) -> Result<()> {
    let endpoint_a = Some(OUTER_A[1].parse()?);
    meets(theirs, Pairing { endpoint_a, preshared: true, ..Pairing::NONE })
}

/// Whoever knows the other's address begins; then both families pass both ways, in all sizes.
fn meets(theirs: Implementation, pairing: Pairing) -> Result<()> {
    let hosts = wired("meet")?;
    let [a, b] = pair(&hosts, theirs, pairing)?;
    if pairing.endpoint_b.is_some() {
        ping(&hosts[0], INNER_B[0])?;
    } else {
        ping(&hosts[1], INNER_A[0])?;
    }
    for [one, other] in [[&a, &b], [&b, &a]] {
        one.wait_for_peer(other, SOON, "a handshake", |peer| peer.latest_handshake > 0)?;
    }
    for (near, far) in INNER_A.into_iter().zip(INNER_B) {
        // Nothing, every remainder of the padding, the MTU, and fragments.
        for payload in [0, 1, 15, 16, 17, 1372, 1392, 4000] {
            ping_sized(&hosts[0], far, payload)?;
            ping_sized(&hosts[1], near, payload)?;
        }
    }
    Ok(())
}

fn both_begin_at_once(theirs: Implementation) -> Result<()> {
    let hosts = wired("at once")?;
    // Persistent keepalives greet each other as soon as both know.
    let pairing = Pairing { keepalive_a: 1, keepalive_b: 1, ..Pairing::over_v4() };
    let [a, b] = pair(&hosts, theirs, pairing)?;
    let greet = |from: &Host, to: &str| ping(from, to);
    std::thread::scope(|scope| {
        let one = scope.spawn(|| greet(&hosts[0], INNER_B[0]));
        let other = scope.spawn(|| greet(&hosts[1], INNER_A[0]));
        one.join().expect("one").and(other.join().expect("the other"))
    })?;
    for [one, other] in [[&a, &b], [&b, &a]] {
        one.wait_for_peer(other, SOON, "a handshake", |peer| peer.latest_handshake > 0)?;
    }
    Ok(())
}

fn another_preshared_key_is_no_handshake(theirs: Implementation) -> Result<()> {
    let hosts = wired("another key")?;
    let pairing = Pairing { preshared: true, ..Pairing::over_v4() };
    let [ours, theirs] = pair(&hosts, theirs, pairing)?;
    ping(&hosts[0], INNER_B[0])?;
    let file = KeyFile::new(&preshared_key()?)?;
    ours.set(["peer", theirs.public_key(), "preshared-key", &file.path()])?;
    let silent = |from: &Tunnel<'_>, to: &str| -> Result<()> {
        assert!(!answers(from.host(), to, Duration::from_millis(500))?, "{to} answers");
        Ok(())
    };
    silent(&ours, INNER_B[0])?;
    silent(&theirs, INNER_A[0])
}
