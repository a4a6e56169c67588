//! Packets arrive at the shard of their peer, which does the work: nearly nothing is handed over.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::wireguard::Tunnel;

use crate::star::{Hosts, OTHERS, Star};

const MANY: u64 = 8 << 20;
/// The most of a tunnel's message.
const MESSAGE: u64 = 1452;
/// What a shard may do while another's peer talks: answer a timer. A part of what that one does.
const NEARLY_NOTHING: u32 = 20;

/// What each of a daemon's shards has computed so far, by their numbers.
fn computed(tunnel: &Tunnel<'_>) -> Result<BTreeMap<usize, Duration>> {
    let mut shards = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{}/task", tunnel.process().id()))? {
        let task = task?.path();
        let name = fs::read_to_string(task.join("comm"))?;
        let number = name.trim_end().strip_prefix("nearwire-").and_then(|text| text.parse().ok());
        if let Some(number) = number {
            let stat = fs::read_to_string(task.join("schedstat"))?;
            let nanoseconds = stat.split(' ').next().context("an empty schedstat")?.parse()?;
            shards.insert(number, Duration::from_nanos(nanoseconds));
        }
    }
    Ok(shards)
}

/// Lets one peer after the other talk, and sees who works.
fn each_works_for_its_own(star: &Star<'_>, shards: usize) -> Result<()> {
    for peer in 0..OTHERS {
        let before = computed(&star.hub)?;
        assert!(before.keys().copied().eq(0..shards), "{before:?}");
        star.transfer(peer, MANY)?;
        let after = computed(&star.hub)?;
        let used: Vec<_> = (0..shards).map(|shard| after[&shard] - before[&shard]).collect();
        println!("peer {peer}: {used:?}");
        let own = used[peer % shards];
        for (shard, used_by) in used.iter().enumerate() {
            let others = shard != peer % shards;
            assert!(!others || *used_by * NEARLY_NOTHING < own, "peer {peer}: {used:?}");
        }
    }
    Ok(())
}

#[test]
fn each_shard_works_for_its_own_peers() -> Result<()> {
    let hosts = Hosts::new("steer")?;
    let star = hosts.star("4")?;
    // The others begin: an initiation names no session, so all arrive at the first shard.
    star.ping_all()?;
    let initiations = star.handed_over()?;
    let others = u64::try_from(OTHERS)?;
    assert!((others - 1..=3 * others).contains(&initiations), "{initiations}");

    each_works_for_its_own(&star, 4)?;
    star.transfer_all(MANY)?;
    let shown = star.hub.show()?;
    let carried: u64 = shown.peers.iter().map(|peer| (peer.rx + peer.tx) / MESSAGE).sum();
    assert!(carried > 50_000, "{carried} packets");
    let more = star.handed_over()? - initiations;
    assert!(more <= others, "{more} of {carried}");

    // The programs follow the number of shards, and a port that is another.
    for shards in [3, 2] {
        crate::star::shards(&star.hub, Some(u32::try_from(shards)?))?;
        star.hub.set(["listen-port", &(4000 + shards).to_string()])?;
        // Tells everybody the new port.
        star.ping_all_from_the_hub()?;
        let before = star.handed_over()?;
        each_works_for_its_own(&star, shards)?;
        let more = star.handed_over()? - before;
        assert!(more <= others, "{more} with {shards} shards");
    }
    Ok(())
}
