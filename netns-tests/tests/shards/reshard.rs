//! Another number of shards while every peer talks: nothing needs a new handshake.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dataplane_common::DropReason;
use netns_tests::wireguard::{PeerSettings, Tunnel};
use netns_tests::{Pinger, wait_until};

use crate::SOON;
use crate::star::{Hosts, OTHERS, Star, inside, shards};

/// What a change may cost: TCP sends it again. Nothing that says that a peer or a session was not
/// known, or that a packet was taken for a wrong one.
const SURVIVED: [DropReason; 4] = [
    DropReason::Backlog,
    DropReason::HandoverFull,
    DropReason::SendFailed,
    // The host's own IPv6 talk to everybody (multicast) belongs to no peer.
    DropReason::NoPeer,
];
/// What every peer has to carry both ways before the next change.
const BETWEEN: u64 = 256 << 10;

/// Every step between one and four shards, or nearly.
const CHANGES: [u32; 12] = [2, 1, 4, 3, 1, 4, 2, 4, 1, 2, 3, 4];

/// What every peer received and sent, by its key.
type Carried = BTreeMap<String, [u64; 2]>;

/// The hub's peers, once each, as they were added.
fn carried(star: &Star<'_>) -> Result<Carried> {
    let shown = star.hub.show()?;
    let keys: Vec<_> = shown.peers.iter().map(|peer| peer.public_key.as_str()).collect();
    let added: Vec<_> = star.others.iter().map(Tunnel::public_key).collect();
    ensure!(keys == added, "{keys:?}");
    for peer in &shown.peers {
        ensure!(peer.endpoint.is_some() && peer.allowed_ips.len() == 2, "{peer:?}");
    }
    Ok(shown.peers.into_iter().map(|peer| (peer.public_key, [peer.rx, peer.tx])).collect())
}

/// Whether every number is larger by as much.
fn beyond(before: &Carried, by: u64, now: &Carried) -> bool {
    before.iter().all(|(key, then)| {
        now.get(key).is_some_and(|now| now.iter().zip(then).all(|(now, then)| *now >= then + by))
    })
}

fn change(star: &Star<'_>, counts: &[u32]) -> Result<()> {
    let mut handed_over = 0;
    for count in counts {
        let before = carried(star)?;
        let report = shards(&star.hub, Some(*count))?;
        assert_eq!(report.count, u64::from(*count));
        assert!(report.handed_over >= handed_over, "{report:?} after {handed_over}");
        handed_over = report.handed_over;
        let after = carried(star)?;
        assert!(beyond(&before, 0, &after), "{count}: {before:?} {after:?}");
        wait_until(SOON * 3, &format!("traffic of every peer, with {count} shards"), || {
            carried(star).is_ok_and(|now| beyond(&after, BETWEEN, &now))
        });
        assert_eq!(shards(&star.hub, None)?.count, u64::from(*count));
    }
    Ok(())
}

#[test]
fn the_number_changes_under_traffic() -> Result<()> {
    let hosts = Hosts::new("reshard")?;
    let star = hosts.star("4")?;
    star.ping_all()?;
    star.transfer_all(1 << 20)?;
    let handshakes = star.handshakes()?;
    let done = AtomicBool::new(false);
    let (star, done) = (&star, &done);
    std::thread::scope(|scope| -> Result<()> {
        let talk = |number| {
            scope.spawn(move || {
                let mut rounds = 0;
                while !done.load(Ordering::Relaxed) {
                    star.transfer(number, 4 << 20)?;
                    rounds += 1;
                }
                Ok::<u32, anyhow::Error>(rounds)
            })
        };
        let talks: Vec<_> = (0..OTHERS).map(talk).collect();
        // To fewer, to more, to the same, to a number that divides nothing, and to the most.
        let changed = change(star, &[2, 1, 4, 4, 3, 1, 2, 256, 4]);
        done.store(true, Ordering::Relaxed);
        for (number, talk) in talks.into_iter().enumerate() {
            let rounds = talk.join().expect("no panic");
            let rounds = rounds.with_context(|| format!("other{number}; {changed:?}"))?;
            assert!(rounds > 0, "other{number}");
        }
        changed
    })?;
    assert_eq!(star.handshakes()?, handshakes);
    let drops = star.drops()?;
    println!("{drops:?}");
    for reason in drops.keys() {
        assert!(SURVIVED.iter().any(|known| known.label() == reason), "{drops:?}");
    }
    star.ping_all()
}

#[test]
fn peers_stay_who_they_are_while_nothing_flows() -> Result<()> {
    let hosts = Hosts::new("idle")?;
    let star = hosts.star("2")?;
    star.ping_all()?;
    let handshakes = star.handshakes()?;
    for count in [3, 1, 4, 2] {
        let before = carried(&star)?;
        assert_eq!(shards(&star.hub, Some(count))?.count, u64::from(count));
        assert_eq!(carried(&star)?, before);
        star.ping_all()?;
    }
    assert_eq!(star.handshakes()?, handshakes);
    // A peer that is added later is known to the shard that is to have it, and so is a slot used
    // again.
    star.hub.remove_peer(&star.others[1])?;
    let settings =
        PeerSettings { allowed_ips: "10.9.0.3/32,fd09::3/128", ..PeerSettings::default() };
    shards(&star.hub, Some(3))?;
    star.hub.add_peer(&star.others[1], &settings)?;
    shards(&star.hub, Some(4))?;
    // The other end has a session of which the hub knows nothing: it begins anew.
    star.others[1].down()?;
    star.others[1].up()?;
    star.ping_all()?;
    let drops = star.drops()?;
    assert_eq!(drops.get(DropReason::BadTag.label()), None, "{drops:?}");
    Ok(())
}

#[test]
fn a_change_loses_hardly_an_echo() -> Result<()> {
    let hosts = Hosts::new("echoes")?;
    let star = hosts.star("4")?;
    star.ping_all()?;
    let rhythm = Duration::from_millis(5);
    let start = |number| Pinger::start(&hosts.hub, &inside(number)[0], rhythm);
    let pingers = (0..OTHERS).map(start).collect::<Result<Vec<_>>>()?;
    for count in CHANGES {
        shards(&star.hub, Some(count))?;
        for pinger in &pingers {
            pinger.wait_for_more(5, SOON)?;
        }
    }
    for pinger in pingers {
        let count = pinger.finish()?;
        println!("{count:?}");
        // What stands in a socket or a queue that is closed; that is rare.
        assert!(count.lost() as usize <= CHANGES.len() / 2, "{count:?}");
    }
    Ok(())
}
