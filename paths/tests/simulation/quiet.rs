//! Flows with pauses, through NATs that forget.

use super::*;

/// Packets of a flow with pauses are this far from each other.
const SELDOM: Duration = secs(8);

fn forgetful(number: u8, nats: &[Kind], remembers: Duration) -> Host {
    let mut host = host(number, nats);
    host.nats.iter_mut().for_each(|nat| nat.remembers = remembers);
    host
}

/// A flow with pauses; now and then both find out by STUN where they are.
fn flow(world: &mut World, packets: u32, every: Duration) {
    for packet in 0..packets {
        world.run(every, Some(every));
        if packet % 3 == 2 {
            world.tell();
        }
    }
}

fn pauses(world: &World) -> [Option<Duration>; 2] {
    [0, 1].map(|me: usize| {
        let known = world.hosts[me].paths.explain(&world.hosts[1 - me].id, world.now);
        known.and_then(|known| known.pause)
    })
}

#[test]
fn a_flow_with_pauses_stays_direct_once_it_is_learnt_how_long_nats_remember() {
    let kinds = [&[][..], &[Kind::FullCone], &[Kind::Restricted], &[Kind::PortRestricted]]
        .map(<[_]>::to_vec);
    for remembers in [2, 4, 20, 120].map(secs) {
        for (a, b) in kinds.iter().flat_map(|a| kinds.iter().map(move |b| (a, b))) {
            for seed in 0..4 {
                let hosts = [forgetful(1, a, remembers), forgetful(2, b, remembers)];
                let mut world = World::new(hosts, LINK, seed);
                flow(&mut world, 30, SELDOM);
                let case =
                    |world: &World| format!("{remembers:?} {a:?} {b:?} {seed}: {}", told(world));
                let learnt = pauses(&world);
                assert!(learnt.iter().all(Option::is_some), "{}", case(&world));
                let shortest = learnt.into_iter().flatten().min();
                let no_nat = a.is_empty() && b.is_empty();
                assert!(no_nat || shortest < Some(remembers), "{learnt:?} {}", case(&world));
                let lost = missing(&world);
                assert!(lost <= 2, "{lost} {}", case(&world));
                let before = world.hosts.each_ref().map(|host| (host.changes.len(), host.probes));
                flow(&mut world, 60, SELDOM);
                for (host, (changes, probes)) in world.hosts.iter().zip(before) {
                    assert_eq!(host.changes.len(), changes, "{}", case(&world));
                    // Three seconds with a ping and a pong each quarter, then five with a pause each.
                    assert!(host.probes - probes < 60 * 42, "{}", host.probes - probes);
                }
                assert_eq!(missing(&world), lost, "{}", case(&world));
            }
        }
    }
}

#[test]
fn whatever_the_rhythm_and_the_nats_little_is_lost_until_it_is_learnt_and_nothing_then() {
    each_seed(100, |seed| {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut one = |number| {
            let kind = Kind::ALL[rng.random_range(0..3)];
            forgetful(number, &[kind], ms(rng.random_range(1300..90_000)))
        };
        let hosts = [one(1), one(2)];
        let delay = ms(rng.random_range(1..150));
        let every = ms(rng.random_range(3500..25_000));
        let mut world = World::new(hosts, Link { delay, ..LINK }, seed);
        // Longer silences are tried again after half an hour.
        let packets = u32::try_from(secs(850).as_millis() / every.as_millis()).expect("few");
        flow(&mut world, packets, every);
        let before = (missing(&world), world.hosts.each_ref().map(|host| host.changes.len()));
        assert!(before.0 <= 4, "{} are lost", before.0);
        assert!(before.1.iter().all(|changes| *changes <= 8), "{}", told(&world));
        assert!(world.hosts.iter().all(|host| host.direct().is_some()), "{}", told(&world));
        flow(&mut world, packets, every);
        let after = (missing(&world), world.hosts.each_ref().map(|host| host.changes.len()));
        assert_eq!(after, before, "{every:?} {}", told(&world));
    });
}

#[test]
fn a_quiet_minute_costs_few_pings_where_nats_remember() {
    for (remembers, most) in [(4, 40), (20, 10), (120, 8)] {
        let nat = &[Kind::PortRestricted];
        let hosts = [forgetful(1, nat, secs(remembers)), forgetful(2, nat, secs(remembers))];
        let mut world = World::new(hosts, LINK, remembers);
        for _ in 0..8 {
            world.run(secs(2), Some(EVERY));
            world.run(secs(48), None);
            world.tell();
        }
        world.run(secs(2), Some(EVERY));
        world.run(secs(4), None);
        let before = world.hosts.each_ref().map(|host| host.probes);
        world.run(secs(54), None);
        for (host, before) in world.hosts.iter().zip(before) {
            assert!(host.probes - before <= most, "{remembers}: {}", host.probes - before);
        }
    }
}

#[test]
fn a_ping_that_is_lost_by_chance_costs_no_long_pause() {
    each_seed(10, |seed| {
        let nat = &[Kind::PortRestricted];
        let mut world = World::new([1, 2].map(|me| forgetful(me, nat, secs(120))), LINK, seed);
        world.link.loss = 10;
        for _ in 0..30 {
            world.run(secs(2), Some(EVERY));
            world.run(secs(48), None);
        }
        let shortest = pauses(&world).into_iter().flatten().min();
        assert!(shortest >= Some(secs(6)), "{}", told(&world));
        assert!(world.hosts.iter().all(|host| host.changes.len() <= 4), "{}", told(&world));
    });
}
