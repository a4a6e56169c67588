//! An end whose address or port changes is followed by the other.

use std::time::Duration;

use anyhow::Result;
use netns_tests::wireguard::{
    INNER_A, INNER_B, Implementation, OUTER_A, OUTER_B, Pairing, Tunnel, TunnelBuilder,
};
use netns_tests::{Host, Pinger, wait_until};

use crate::{SOON, wired, with_each_implementation};

with_each_implementation!(
    ours_moves_over_v4,
    ours_moves_over_v6,
    theirs_moves_over_v4,
    theirs_moves_over_v6,
    ours_takes_another_port,
    theirs_takes_another_port,
    ours_moves_from_v4_to_v6,
);

const RHYTHM: Duration = Duration::from_millis(50);
/// The new addresses, of whoever moves.
const MOVED: [&str; 2] = ["10.0.0.77", "fd00::77"];

fn ours_moves_over_v4(theirs: Implementation) -> Result<()> {
    moves(theirs, 0, Who::Ours)
}

fn ours_moves_over_v6(theirs: Implementation) -> Result<()> {
    moves(theirs, 1, Who::Ours)
}

fn theirs_moves_over_v4(theirs: Implementation) -> Result<()> {
    moves(theirs, 0, Who::Theirs)
}

fn theirs_moves_over_v6(theirs: Implementation) -> Result<()> {
    moves(theirs, 1, Who::Theirs)
}

#[derive(Clone, Copy)]
enum Who {
    Ours,
    Theirs,
}

fn builder(implementation: Implementation) -> TunnelBuilder {
    let builder = Tunnel::builder(implementation);
    match implementation {
        // Its sockets per peer are bound to an address, and so cannot leave one.
        Implementation::Boringtun => builder.arg("--disable-connected-udp"),
        _ => builder,
    }
}

fn pair<'h>(
    [a, b]: &'h [Host; 2],
    theirs: Implementation,
    pairing: Pairing,
) -> Result<[Tunnel<'h>; 2]> {
    let tunnels = [builder(Implementation::Nearwire).start(a)?, builder(theirs).start(b)?];
    pairing.connect(&tunnels[0], &tunnels[1])?;
    Ok(tunnels)
}

fn pairing(family: usize) -> Pairing {
    if family == 0 { Pairing::over_v4() } else { Pairing::over_v6() }
}

/// The address of one end changes while it sends; the other is to answer to the new one.
fn moves(theirs: Implementation, family: usize, who: Who) -> Result<()> {
    let hosts = wired("moves")?;
    let [ours, theirs] = pair(&hosts, theirs, pairing(family))?;
    let (mover, stayer, old, far) = match who {
        Who::Ours => (&ours, &theirs, OUTER_A[family], INNER_B[0]),
        Who::Theirs => (&theirs, &ours, OUTER_B[family], INNER_A[0]),
    };
    let pinger = Pinger::start(mover.host(), far, RHYTHM)?;
    let length = ["24", "64"][family];
    let device = "eth0";
    let new = MOVED[family];
    // Else the new IPv4 address, second of its network, goes with the first.
    mover.host().sysctl("net.ipv4.conf.all.promote_secondaries", "1")?;
    mover.host().ip(["address", "add", &format!("{new}/{length}"), "dev", device, "nodad"])?;
    mover.host().ip(["address", "del", &format!("{old}/{length}"), "dev", device])?;
    if mover.implementation() == Implementation::WireguardGo {
        // From an address that is gone, newer kernels answer "network is unreachable", of which it
        // learns nothing; a new socket makes it choose anew.
        mover.set(["listen-port", &mover.port().to_string()])?;
    }
    pinger.wait_for_more(5, SOON)?;
    let seen = stayer.peer(mover)?.endpoint.map(|endpoint| endpoint.ip().to_string());
    assert_eq!(seen.as_deref(), Some(new));
    // What was under way to the address that is gone.
    assert!(pinger.finish()?.lost() <= 3);
    Ok(())
}

fn ours_takes_another_port(theirs: Implementation) -> Result<()> {
    takes_another_port(theirs, Who::Ours)
}

fn theirs_takes_another_port(theirs: Implementation) -> Result<()> {
    takes_another_port(theirs, Who::Theirs)
}

fn takes_another_port(theirs: Implementation, who: Who) -> Result<()> {
    let hosts = wired("port")?;
    let [ours, theirs] = pair(&hosts, theirs, Pairing::over_v4())?;
    let (mover, stayer, far) = match who {
        Who::Ours => (&ours, &theirs, INNER_B[0]),
        Who::Theirs => (&theirs, &ours, INNER_A[0]),
    };
    let pinger = Pinger::start(mover.host(), far, RHYTHM)?;
    for port in [4001, 4002] {
        mover.set(["listen-port", &port.to_string()])?;
        stayer.wait_for_peer(mover, SOON, "the new port", |peer| {
            peer.endpoint.is_some_and(|endpoint| endpoint.port() == port)
        })?;
        pinger.wait_for_more(3, SOON)?;
    }
    Ok(())
}

/// Told another address of theirs, ours goes on there with the same session.
fn ours_moves_from_v4_to_v6(theirs: Implementation) -> Result<()> {
    let hosts = wired("families")?;
    let [ours, theirs] = pair(&hosts, theirs, Pairing::over_v4())?;
    let pinger = Pinger::start(ours.host(), INNER_B[1], RHYTHM)?;
    let handshake = ours.peer(&theirs)?.latest_handshake;
    for (family, brackets) in [(1, true), (0, false), (1, true)] {
        let address = OUTER_B[family];
        let port = theirs.port();
        let endpoint =
            if brackets { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
        // What is under way from the old address brings ours back to it, as roaming has to: so told again.
        wait_until(SOON, "the other family", || {
            let told = ours.set(["peer", theirs.public_key(), "endpoint", &endpoint]);
            let seen = theirs.peer(&ours).ok().and_then(|peer| peer.endpoint);
            told.is_ok() && seen.is_some_and(|seen| seen.ip().to_string() == OUTER_A[family])
        });
        pinger.wait_for_more(3, SOON)?;
    }
    assert_eq!(ours.peer(&theirs)?.latest_handshake, handshake);
    assert!(pinger.finish()?.lost() <= 3);
    Ok(())
}
