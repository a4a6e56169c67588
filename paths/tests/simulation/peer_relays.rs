//! Hosts between which other nodes may relay.

use super::*;
use crate::lanes::Lane;

/// The way by a node that relays that a host uses, if it does.
fn relayed(world: &World, me: usize) -> Option<std::net::SocketAddr> {
    world.hosts[me].choice.route().filter(paths::Route::is_relayed).map(|route| route.to)
}

fn both_relayed(world: &World) -> bool {
    (0..2).all(|me| relayed(world, me).is_some())
}

fn changes(world: &World) -> usize {
    world.hosts.iter().map(|host| host.changes.len()).sum()
}

/// Two behind hard NATs, and so many that may relay.
fn hard_pair(lanes: u8, seed: u64) -> World {
    let mut world = pair(&[Kind::Symmetric], &[Kind::Symmetric], seed);
    world.lanes = (1..=lanes).map(|number| Lane::new(number, ms(25 * u64::from(number)))).collect();
    world
}

#[test]
fn by_a_node_that_relays_where_there_is_one_and_directly_where_that_can_be() {
    each_seed(500, |seed| {
        let mut world = random_world(seed);
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x1a4e);
        for number in 1..=rng.random_range(1..=3) {
            let mut lane = Lane::new(number, ms(rng.random_range(2..150)));
            lane.grant(rng.random_range(0..4) > 0, world.now);
            lane.run(rng.random_range(0..5) > 0);
            world.lanes.push(lane);
        }
        let (possible, plain) = possible(&world.hosts[0], &world.hosts[1]);
        let serves = world.lanes.iter().any(Lane::serves);
        world.run(secs(if plain { 6 } else { 20 }), Some(EVERY));
        for me in 0..2 {
            let (choice, by) = (world.hosts[me].choice, relayed(&world, me));
            if plain {
                assert!(choice.is_direct(), "{}", told(&world));
            } else if serves {
                assert!(choice.is_direct() && possible || by.is_some(), "{}", told(&world));
            } else if !possible {
                assert_eq!(choice, Choice::Relay, "{}", told(&world));
            }
            if let Some(by) = by {
                let lane = world.lanes.iter().find(|lane| lane.at == by).expect("one of them");
                assert!(lane.serves(), "{}", told(&world));
            }
        }
        let before = world.hosts.each_ref().map(|host| host.changes.len());
        world.run(secs(120), Some(EVERY));
        assert_eq!(lost(&mut world), 0, "{}", told(&world));
        for (host, before) in world.hosts.iter().zip(before) {
            assert!(before <= 4, "{:?}", host.changes);
            // To one that is nearer by far, or to a port that was guessed at last.
            assert!(host.changes.len() <= before + 2, "it flaps: {:?}", host.changes);
            assert!(host.paths.size() < 2000);
        }
    });
}

#[test]
fn a_grant_that_comes_and_goes_costs_nothing() {
    each_seed(100, |seed| {
        let mut world = hard_pair(1 + u8::try_from(seed % 3).expect("small"), seed);
        for round in 0..4 {
            world.run(secs(20), Some(EVERY));
            assert!(both_relayed(&world), "{round}: {}", told(&world));
            let now = world.now;
            world.lanes.iter_mut().for_each(|lane| lane.grant(false, now));
            world.run(secs(3), Some(EVERY));
            assert!(world.hosts.iter().all(|host| host.choice == Choice::Relay));
            world.lanes.iter_mut().for_each(|lane| lane.grant(true, now));
        }
        world.run(secs(20), Some(EVERY));
        assert!(both_relayed(&world), "{}", told(&world));
        assert_eq!(lost(&mut world), 0, "{}", told(&world));
    });
}

#[test]
fn one_that_dies_is_left_for_another_or_the_relay_and_used_again() {
    each_seed(100, |seed| {
        let mut world = hard_pair(1 + u8::try_from(seed % 2).expect("small"), seed);
        world.run(secs(10), Some(EVERY));
        assert!(both_relayed(&world), "{}", told(&world));
        let used = relayed(&world, usize::from(seed % 3 == 0)).expect("one is used");
        let which = world.lanes.iter().position(|lane| lane.at == used).expect("it is there");
        let since = world.now;
        world.lanes[which].run(false);
        world.run(secs(10), Some(EVERY));
        assert!(gap(&world, since) <= secs(2), "{:?} {}", gap(&world, since), told(&world));
        for me in 0..2 {
            assert_ne!(relayed(&world, me), Some(used), "{}", told(&world));
            assert_eq!(relayed(&world, me).is_some(), world.lanes.len() > 1, "{}", told(&world));
        }
        world.lanes[which].run(true);
        let before = missing(&world);
        world.run(secs(60), Some(EVERY));
        assert!(both_relayed(&world), "{}", told(&world));
        assert!(missing(&world) <= before, "it comes back without a loss");
    });
}

#[test]
fn one_that_is_steady_is_not_left_and_one_that_loses_much_is() {
    each_seed(20, |seed| {
        let mut world = hard_pair(1, seed);
        world.lanes[0].loss = 5;
        world.run(secs(20), Some(EVERY));
        assert!(both_relayed(&world));
        let before = changes(&world);
        world.run(secs(180), Some(EVERY));
        assert_eq!(changes(&world), before, "{}", told(&world));
        world.lanes[0].loss = 150;
        world.run(secs(10), Some(ms(2)));
        assert!(world.hosts.iter().all(|host| host.choice == Choice::Relay), "{}", told(&world));
    });
}

#[test]
fn whatever_becomes_of_those_that_relay_packets_go_on_and_little_is_remembered() {
    each_seed(100, |seed| {
        let mut world = hard_pair(3, seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        world.run(secs(5), Some(EVERY));
        let mut deaths = 0;
        for _ in 0..30 {
            let (which, now) = (rng.random_range(0..3), world.now);
            let lane = &mut world.lanes[which];
            match rng.random_range(0..4) {
                0 => lane.grant(false, now),
                1 => lane.grant(true, now),
                2 => {
                    // Who is granted no more is served for a moment.
                    deaths += usize::from((0..2).any(|me| lane.carries(me, now)));
                    lane.run(false);
                }
                _ => lane.run(true),
            }
            let since = world.now;
            world.run(ms(rng.random_range(200..8000)), Some(EVERY));
            assert!(gap(&world, since) <= secs(2), "{:?} {}", gap(&world, since), told(&world));
            assert!(world.hosts.iter().all(|host| host.paths.size() < 300));
        }
        // A death costs what is sent until it is noticed, at both ends.
        let most = deaths * 2 * 160;
        assert!(lost(&mut world) <= most, "{deaths} deaths: {}", told(&world));
        assert!(changes(&world) <= 2 * (2 + 30 * 2), "{}", changes(&world));
        let now = world.now;
        world.lanes.iter_mut().for_each(|lane| {
            lane.grant(true, now);
            lane.run(true);
        });
        world.run(secs(30), Some(EVERY));
        assert!(both_relayed(&world), "{}", told(&world));
    });
}
