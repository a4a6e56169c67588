//! The path engine in thousands of random networks, on a clock that is turned by hand.
//!
//! `NEARWIRE_SEEDS=20000` runs more of them; a seed that fails says so, and belongs in `REGRESSIONS`.

mod lanes;
mod nat;
mod peer_relays;
mod quiet;
mod world;

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use engine::Timestamp;
use paths::{Choice, Rule, SocketId};
use proto::control::{PathKind, PathKinds};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use nat::{Kind, Nat};
use world::{Host, Link, World};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Packets of both sides are this far from each other.
const EVERY: Duration = ms(10);
/// Seeds that have failed once.
const REGRESSIONS: &[u64] = &[723, 858];

/// Runs `test` with many seeds.
fn each_seed(few: u64, test: impl Fn(u64)) {
    let more = std::env::var("NEARWIRE_SEEDS").ok();
    let count = more.map_or(few, |count| count.parse().expect("NEARWIRE_SEEDS is a number"));
    for seed in REGRESSIONS.iter().copied().chain(0..count) {
        if let Err(failure) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("seed {seed} fails");
            resume_unwind(failure);
        }
    }
}

fn host(number: u8, nats: &[Kind]) -> Host {
    let outside =
        |place: usize| IpAddr::from([203, 0, number, 1 + u8::try_from(place).expect("few")]);
    let nats: Vec<_> =
        (0..).zip(nats).map(|(place, kind)| Nat::new(*kind, outside(place), secs(60))).collect();
    let inside = if nats.is_empty() { [203, 0, number, 9] } else { [10, 0, number, 2] };
    Host::new(number, inside.into(), nats, number.into())
}

const LINK: Link = Link {
    delay: ms(20),
    relay_delay: ms(40),
    loss: 0,
    dead_from: None,
    only_probes: false,
    too_much_room: u16::MAX,
};

fn pair(a: &[Kind], b: &[Kind], seed: u64) -> World {
    World::new([host(1, a), host(2, b)], LINK, seed)
}

/// Runs until both are direct; how long that took.
fn until_direct(world: &mut World, most: Duration) -> Option<Duration> {
    let start = world.now;
    while world.now - start < most {
        world.run(ms(10), Some(EVERY));
        if world.hosts.iter().all(|host| host.direct().is_some()) {
            return Some(world.now - start);
        }
    }
    None
}

/// What both know, for whoever looks after a seed.
fn told(world: &World) -> String {
    let host = |me: usize| {
        let (host, other) = (&world.hosts[me], world.hosts[1 - me].id);
        let kinds: Vec<_> = host.nats.iter().map(|nat| nat.kind).collect();
        let known = host.paths.explain(&other, world.now);
        format!("{kinds:?} {:?} {known:#?}", host.changes)
    };
    format!("{}\n{}", host(0), host(1))
}

/// Packets that did not arrive, but for those under way.
fn lost(world: &mut World) -> usize {
    world.run(secs(1), None);
    missing(world)
}

/// Packets that did not arrive yet.
fn missing(world: &World) -> usize {
    let lost = |me: usize| world.hosts[me].sent as usize - world.hosts[1 - me].arrived.len();
    lost(0) + lost(1)
}

/// The longest time without a packet at either host, after this.
fn gap(world: &World, after: Timestamp) -> Duration {
    let gap = |me: usize| {
        let times = world.hosts[me].arrived.iter().map(|(_, at)| *at).filter(|at| *at >= after);
        let mut last = after;
        let mut most = Duration::ZERO;
        for at in times {
            most = most.max(at - last);
            last = at;
        }
        most.max(world.now - last)
    };
    gap(0).max(gap(1))
}

/// Whether there is a direct way at all, and whether it needs no guesses.
fn possible(a: &Host, b: &Host) -> (bool, bool) {
    if a.blocked || b.blocked {
        return (false, false);
    }
    if a.v6.is_some() && b.v6.is_some() {
        return (true, true);
    }
    let strict = |host: &Host| {
        let kinds = host.nats.iter().map(|nat| nat.kind);
        kinds.max().unwrap_or(Kind::FullCone)
    };
    let (easy, hard) = (strict(a).min(strict(b)), strict(a).max(strict(b)));
    match (easy, hard) {
        (Kind::Symmetric, _) => (false, false),
        (Kind::PortRestricted, Kind::Symmetric) => (true, false),
        _ => (true, true),
    }
}

fn random_world(seed: u64) -> World {
    let mut rng = SmallRng::seed_from_u64(seed);
    let host = |number: u8, rng: &mut SmallRng| {
        let depth = rng.random_range(0..=2);
        let kinds: Vec<_> = (0..depth).map(|_| Nat::random_kind(rng)).collect();
        let mut host = host(number, &kinds);
        host.blocked = rng.random_range(0..12) == 0;
        if rng.random_range(0..4) == 0 {
            let ip = [0x2001, 0xdb8, 0, number.into(), 0, 0, 0, 1];
            host.v6 = Some(IpAddr::from(ip));
        }
        host
    };
    let hosts = [host(1, &mut rng), host(2, &mut rng)];
    let delay = ms(rng.random_range(1..150));
    let relay_delay = delay + ms(rng.random_range(0..100));
    World::new(hosts, Link { delay, relay_delay, ..LINK }, seed)
}

#[test]
fn a_way_is_found_where_there_is_one_and_nothing_is_lost_by_it() {
    let mut birthdays = (0, 0);
    let found = std::cell::RefCell::new(&mut birthdays);
    each_seed(1000, |seed| {
        let mut world = random_world(seed);
        let (possible, plain) = possible(&world.hosts[0], &world.hosts[1]);
        let direct = until_direct(&mut world, if plain { secs(6) } else { secs(20) });
        if plain {
            assert!(direct.is_some(), "no direct way");
        } else if possible {
            let mut birthdays = found.borrow_mut();
            birthdays.0 += 1;
            birthdays.1 += u32::from(direct.is_some());
        } else {
            assert_eq!(direct, None, "a way that cannot be");
        }
        world.run(secs(10), Some(EVERY));
        assert_eq!(lost(&mut world), 0, "lost packets: {}", told(&world));
        for host in &world.hosts {
            assert!(host.changes.len() <= 2, "it flaps: {:?}", host.changes);
            assert!(host.paths.size() < 2000);
        }
    });
    assert!(birthdays.1 * 100 >= birthdays.0 * 95, "guessed ports: {birthdays:?}");
    assert!(birthdays.0 > 10, "{birthdays:?}");
}

#[test]
fn easy_pairs_are_direct_within_half_a_second() {
    for a in [&[][..], &[Kind::FullCone], &[Kind::Restricted], &[Kind::PortRestricted]] {
        for b in [&[][..], &[Kind::FullCone], &[Kind::Restricted], &[Kind::PortRestricted]] {
            for seed in 0..5 {
                let mut world = pair(a, b, seed);
                let time = until_direct(&mut world, secs(2));
                assert!(time.is_some_and(|time| time <= ms(500)), "{a:?} {b:?}: {time:?}");
            }
        }
    }
}

#[test]
fn a_pair_without_a_direct_way_stays_on_the_relay_and_asks_ever_more_seldom() {
    let mut world = pair(&[Kind::Symmetric], &[Kind::Symmetric], 1);
    world.run(secs(600), Some(ms(100)));
    let probes = world.hosts[0].probes;
    for host in &world.hosts {
        assert_eq!((host.choice, host.changes.len()), (Choice::Relay, 1));
    }
    assert!(probes < 600, "{probes} probes");
    world.run(secs(600), Some(ms(100)));
    assert!(world.hosts[0].probes - probes < 150, "{}", world.hosts[0].probes - probes);
    assert_eq!(lost(&mut world), 0);
}

#[test]
fn idle_peers_are_sent_nothing() {
    each_seed(20, |seed| {
        let mut world = random_world(seed);
        world.run(secs(600), None);
        assert_eq!(world.hosts.each_ref().map(|host| host.probes), [0, 0]);
        world.run(secs(5), Some(EVERY));
        world.run(secs(70), None);
        let before = world.hosts.each_ref().map(|host| host.probes);
        world.run(secs(600), None);
        assert_eq!(world.hosts.each_ref().map(|host| host.probes), before);
        // NATs are closed by now: what comes next goes by the relay, and nothing of it is lost.
        let sent = world.hosts[0].sent;
        world.run(secs(5), Some(EVERY));
        assert!(world.hosts[0].sent > sent && lost(&mut world) == 0);
    });
}

#[test]
fn a_steady_link_is_not_left() {
    each_seed(20, |seed| {
        let mut world = random_world(seed);
        world.link.loss = 5;
        world.run(secs(20), Some(EVERY));
        let before = world.hosts.each_ref().map(|host| host.changes.len());
        world.run(secs(180), Some(EVERY));
        for (host, before) in world.hosts.iter().zip(before) {
            assert!(host.changes.len() <= before + 1, "{:?}", host.changes);
        }
    });
}

#[test]
fn a_way_that_dies_in_one_direction_is_left_within_two_seconds() {
    each_seed(60, |seed| {
        let mut world = pair(&[Kind::PortRestricted], &[Kind::PortRestricted], seed);
        assert!(until_direct(&mut world, secs(2)).is_some());
        world.run(ms(3000 + seed * 17), Some(EVERY));
        let since = world.now;
        world.link.dead_from = Some(usize::from(seed % 2 == 1));
        world.run(secs(60), Some(EVERY));
        assert!(gap(&world, since) <= secs(2), "{:?}", gap(&world, since));
        for host in &world.hosts {
            assert_eq!(host.choice, Choice::Relay);
            let changes = host.changes.iter().filter(|(at, _)| *at >= since).count();
            assert_eq!(changes, 1, "{:?}", host.changes);
        }
        // It works again, and so it is used again.
        world.link.dead_from = None;
        world.run(secs(120), Some(EVERY));
        assert!(world.hosts.iter().all(|host| host.direct().is_some()), "{}", told(&world));
    });
}

#[test]
fn a_lossy_way_is_left_within_two_seconds_and_not_taken_again_at_once() {
    let (slow, all) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    each_seed(20, |seed| {
        let mut world = pair(&[], &[], seed);
        assert!(until_direct(&mut world, secs(2)).is_some());
        world.run(secs(2), Some(ms(2)));
        let since = world.now;
        world.link.loss = 60;
        world.run(secs(50), Some(ms(2)));
        for host in &world.hosts {
            let changes: Vec<_> = host.changes.iter().filter(|(at, _)| *at >= since).collect();
            assert_eq!(changes.len(), 1, "{changes:?}");
            assert_eq!(changes[0].1, Choice::Relay);
            let time = changes[0].0 - since;
            assert!(time <= secs(4), "{time:?}");
            slow.set(slow.get() + u32::from(time > secs(2)));
            all.set(all.get() + 1);
        }
    });
    // By chance a way may lose less at first.
    let (slow, all) = (slow.get(), all.get());
    assert!(slow * 5 <= all, "{slow} of {all} took longer");
}

#[test]
fn a_way_that_passes_probes_only_is_left() {
    let mut world = pair(&[], &[Kind::FullCone], 4);
    world.run(secs(5), Some(EVERY));
    let since = world.now;
    world.link.only_probes = true;
    world.run(secs(50), Some(EVERY));
    assert!(world.hosts.iter().all(|host| host.choice == Choice::Relay));
    assert!(gap(&world, since) <= ms(2500), "{:?}", gap(&world, since));
}

#[test]
fn nats_that_are_started_anew_are_passed_again() {
    each_seed(60, |seed| {
        let mut world = random_world(seed);
        let (_, plain) = possible(&world.hosts[0], &world.hosts[1]);
        world.run(secs(5), Some(EVERY));
        let since = world.now;
        let host = usize::from(seed % 2 == 1);
        world.hosts[host].nats.iter_mut().for_each(Nat::reboot);
        world.run(secs(5), Some(EVERY));
        assert!(gap(&world, since) <= ms(2500), "{:?}", gap(&world, since));
        // STUN tells by and by.
        world.tell();
        world.run(secs(20), Some(EVERY));
        if plain {
            assert!(world.hosts.iter().all(|host| host.direct().is_some()), "{}", told(&world));
        }
    });
}

#[test]
fn a_host_that_moves_is_reached_again_at_once() {
    each_seed(60, |seed| {
        let mut world = pair(&[Kind::PortRestricted], &[], seed);
        world.run(secs(5), Some(EVERY));
        assert!(world.hosts[0].direct().is_some());
        let since = world.now;
        world.hosts[0].address = IpAddr::from([10, 9, 9, 9]);
        world.hosts[0].nats[0].reboot();
        world.hosts[0].nats[0].outside = IpAddr::from([203, 0, 113, 77]);
        let now = world.now;
        world.hosts[0].paths.start_over(now);
        world.tell();
        world.run(secs(5), Some(EVERY));
        assert!(gap(&world, since) <= ms(500), "{:?}", gap(&world, since));
        assert!(world.hosts.iter().all(|host| host.direct().is_some()));
    });
}

#[test]
fn a_host_that_moves_often_stays_direct() {
    let mut world = pair(&[], &[], 5);
    world.run(secs(5), Some(EVERY));
    for place in 1..10 {
        let since = world.now;
        world.hosts[0].address = IpAddr::from([10, 9, 9, place]);
        world.hosts[0].paths.start_over(since);
        world.tell();
        world.run(secs(5), Some(EVERY));
        assert!(gap(&world, since) <= ms(500), "{place}: {:?}", gap(&world, since));
        assert!(world.hosts.iter().all(|host| host.direct().is_some()), "{place}");
    }
}

#[test]
fn what_is_forbidden_is_not_used() {
    let mut world = pair(&[], &[], 1);
    world.set_rule(0, Rule::Relay);
    world.run(secs(30), Some(EVERY));
    assert!(world.hosts.iter().all(|host| host.choice == Choice::Relay));
    assert_eq!(world.hosts[0].probes, 0);
    world.set_rule(0, Rule::Any);
    world.run(secs(30), Some(EVERY));
    assert!(world.hosts[0].direct().is_some());
    world.set_rule(0, Rule::Relay);
    assert_eq!(world.hosts[0].choice, Choice::Relay);
    assert_eq!(lost(&mut world), 0);
}

/// The policy changes while packets are under way.
#[test]
fn what_the_policy_forbids_is_left_at_once_and_nothing_is_sent_there_any_more() {
    let mut tested = 0;
    for seed in 0..20 {
        // By the ports of a hard NAT a way is found almost always.
        let (nat, hard): (&[Kind], bool) = match seed % 3 {
            0 => (&[], false),
            1 => (&[Kind::FullCone], false),
            _ => (&[Kind::Symmetric], true),
        };
        let mut world = pair(nat, &[Kind::PortRestricted], seed);
        world.run(secs(20), Some(EVERY));
        let direct = |world: &World| world.hosts.iter().all(|host| host.direct().is_some());
        assert!(hard || direct(&world), "{}", told(&world));
        if !direct(&world) {
            continue;
        }
        tested += 1;
        world.set_kinds(PathKind::Relay.into());
        assert!(world.hosts.iter().all(|host| host.choice == Choice::Relay));
        let probes = world.hosts.each_ref().map(|host| host.probes);
        world.run(secs(30), Some(EVERY));
        assert_eq!(world.hosts.each_ref().map(|host| host.probes), probes, "seed {seed}");
        assert!(world.hosts.iter().all(|host| host.choice == Choice::Relay));
        assert_eq!((world.sockets(0), world.sockets(1)), (1, 1));
        world.set_kinds(PathKinds::ALL);
        world.run(secs(20), Some(EVERY));
        assert!(hard || direct(&world), "{}", told(&world));
        assert!(hard || lost(&mut world) == 0, "seed {seed}");
        // What is left is a kind that there is not: packets go nowhere, and that is known.
        world.set_kinds(PathKind::PeerRelay.into());
        assert!(world.hosts.iter().all(|host| host.choice == Choice::Nowhere));
        world.run(secs(5), Some(EVERY));
        let id = world.hosts[1].id;
        let explained = world.hosts[0].paths.explain(&id, world.now).unwrap();
        assert!(explained.stuck > 0 && explained.active);
        assert_eq!(explained.allowed.to_string(), "peer-relay only, by the network's policy");
        // Without a packet by the relay a direct way is found where there is one.
        world.set_kinds(PathKind::Direct.into());
        assert!(world.hosts.iter().all(|host| host.choice != Choice::Relay));
        world.run(secs(20), Some(EVERY));
        assert!(hard || direct(&world), "{}", told(&world));
    }
    assert!(tested >= 14, "{tested}");
}

#[test]
fn spare_sockets_are_closed_but_for_the_one_in_use() {
    let mut direct = 0;
    for seed in 0..20 {
        let mut world = pair(&[Kind::Symmetric], &[Kind::PortRestricted], seed);
        world.run(secs(20), Some(EVERY));
        let route = world.hosts[0].direct();
        direct += u32::from(route.is_some());
        let spare = route.is_some_and(|route| route.socket != SocketId::MAIN);
        // Some ports were guessed beside it, and the peer may use another.
        let most = if spare { 20 } else { 1 };
        assert!(world.sockets(0) <= most, "{} are open", world.sockets(0));
        world.run(secs(100), None);
        assert_eq!(world.sockets(0), 1, "{}", told(&world));
    }
    assert!(direct >= 18, "{direct} of 20");
}

#[test]
fn it_is_found_how_much_a_way_carries_and_that_it_carries_less_by_now() {
    let mut world = pair(&[], &[Kind::FullCone], 4);
    world.run(ms(30), Some(EVERY));
    assert!(world.hosts.iter().all(|host| host.fits == 1420), "by the relay");
    world.run(secs(5), Some(EVERY));
    let fits = |world: &World| [world.hosts[0].fits, world.hosts[1].fits];
    assert_eq!(fits(&world), [1440; 2]);
    // No more than 1400 bytes: a ping's headers are 28 and its own 91.
    world.link.too_much_room = 1401 - 28 - 91;
    world.run(secs(30), Some(EVERY));
    assert_eq!(fits(&world), [1340; 2]);
    world.link.too_much_room = u16::MAX;
    world.run(secs(660), Some(EVERY));
    assert_eq!(fits(&world), [1440; 2]);
    world.hosts.iter().for_each(|host| assert!(host.direct().is_some(), "it is not left for that"));
}

#[test]
fn a_way_by_the_relay_has_the_usual_length_again() {
    let mut world = pair(&[], &[Kind::FullCone], 4);
    world.run(secs(5), Some(EVERY));
    assert_eq!(world.hosts[0].fits, 1440);
    world.set_rule(0, Rule::Relay);
    world.run(secs(1), Some(EVERY));
    assert_eq!(world.hosts[0].fits, 1420);
}
