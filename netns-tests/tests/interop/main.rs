//! nearwire against wireguard-go, boringtun and itself, at either end.

mod handshake;
mod rekey;
mod roaming;
mod transfer;

use std::time::Duration;

use anyhow::Result;
use netns_tests::wireguard::{Implementation, Pairing, Tunnel, wired_hosts};
use netns_tests::{Host, Lab};

const SOON: Duration = Duration::from_secs(10);

/// Starts ours in the first host and theirs in the second, and makes them peers.
fn pair<'h>(
    [a, b]: &'h [Host; 2],
    theirs: Implementation,
    pairing: Pairing,
) -> Result<[Tunnel<'h>; 2]> {
    let tunnels = [Tunnel::start(a, Implementation::Nearwire)?, Tunnel::start(b, theirs)?];
    pairing.connect(&tunnels[0], &tunnels[1])?;
    Ok(tunnels)
}

/// A lab of two wired hosts.
fn wired(name: &str) -> Result<[Host; 2]> {
    wired_hosts(&Lab::new(name)?)
}

/// A module of tests for each implementation at the other end.
macro_rules! with_each_implementation {
    ($($test:ident),* $(,)?) => {
        mod nearwire {
            $(#[test] fn $test() -> anyhow::Result<()> {
                super::$test(netns_tests::wireguard::Implementation::Nearwire)
            })*
        }
        mod wireguard_go {
            $(#[test] fn $test() -> anyhow::Result<()> {
                super::$test(netns_tests::wireguard::Implementation::WireguardGo)
            })*
        }
        mod boringtun {
            $(#[test] fn $test() -> anyhow::Result<()> {
                super::$test(netns_tests::wireguard::Implementation::Boringtun)
            })*
        }
    };
}
pub(crate) use with_each_implementation;
