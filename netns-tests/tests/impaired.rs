//! Impaired links, with real packets: statistics have wide margins, the exact ones are the unit
//! tests of `wire`.

use std::time::Duration;

use anyhow::Result;
use netns_tests::{
    Counters, Direction, Host, ImpairedLink, Impairment, Lab, Rate, UdpEcho, tcp_transfer,
    udp_one_way, udp_round_trip, wait_until,
};

const SOON: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(400);
const DATAGRAMS: u32 = 2000;

fn wired(impairment: Impairment) -> Result<(ImpairedLink, Host, Host)> {
    let lab = Lab::new("wired")?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let link = lab
        .link(&a, &b)
        .at_a(&["10.0.0.1/24", "fd00::1/64"])
        .at_b(&["10.0.0.2/24", "fd00::2/64"])
        .impaired(impairment, 42)?;
    // Neighbours are found before anything is counted.
    udp_round_trip(&a, echo_at(&b, "10.0.0.2:0")?.address(), b"warm", SOON)?;
    Ok((link, a, b))
}

fn echo_at(host: &Host, address: &str) -> Result<UdpEcho> {
    UdpEcho::start(host, address.parse()?)
}

/// Sends datagrams a -> b under an impairment of that direction only.
fn one_way(impairment: Impairment) -> Result<(Vec<u32>, Counters)> {
    let (link, a, b) = wired(Impairment::NONE)?;
    link.set_direction(Direction::AToB, impairment);
    let arrived = udp_one_way(&a, &b, "10.0.0.2".parse()?, DATAGRAMS, QUIET)?;
    let counters = link.counters(Direction::AToB);
    assert_eq!(link.counters(Direction::BToA).lost, 0);
    Ok((arrived, counters))
}

#[test]
fn a_perfect_wire_loses_nothing() -> Result<()> {
    let (arrived, counters) = one_way(Impairment::NONE)?;
    assert!(arrived.into_iter().eq(0..DATAGRAMS), "{counters:?}");
    Ok(())
}

#[test]
fn loss_is_near_what_was_asked() -> Result<()> {
    let (arrived, counters) = one_way(Impairment { loss: 0.2, ..Impairment::NONE })?;
    assert!((1450..1750).contains(&arrived.len()), "{} arrived, {counters:?}", arrived.len());
    assert!((250..550).contains(&counters.lost), "{counters:?}");
    Ok(())
}

#[test]
fn duplicates_arrive_twice() -> Result<()> {
    let (arrived, counters) = one_way(Impairment { duplicate: 0.1, ..Impairment::NONE })?;
    assert!((2100..2300).contains(&arrived.len()), "{} arrived, {counters:?}", arrived.len());
    Ok(())
}

#[test]
fn reordered_frames_are_overtaken_and_all_arrive() -> Result<()> {
    let (mut arrived, counters) = one_way(Impairment { reorder: 0.1, ..Impairment::NONE })?;
    assert!(!arrived.is_sorted(), "{counters:?}");
    assert!(counters.reordered > 20, "{counters:?}");
    arrived.sort_unstable();
    assert!(arrived.into_iter().eq(0..DATAGRAMS), "{counters:?}");
    Ok(())
}

#[test]
fn corrupted_frames_do_not_pass_checksums() -> Result<()> {
    let (arrived, counters) = one_way(Impairment { corrupt: 0.3, ..Impairment::NONE })?;
    assert!((400..800).contains(&counters.corrupted), "{counters:?}");
    assert!(arrived.len() < 1900 && arrived.is_sorted(), "{} arrived", arrived.len());
    Ok(())
}

#[test]
fn delay_adds_up_over_both_ways_and_can_change() -> Result<()> {
    let (link, a, b) = wired(Impairment::NONE)?;
    for address in ["10.0.0.2:0", "[fd00::2]:0"] {
        let echo = echo_at(&b, address)?;
        // The best of some: a busy machine adds to any one of them.
        let best = || -> Result<Option<Duration>> {
            let tries: Result<Vec<_>> =
                (0..5).map(|_| udp_round_trip(&a, echo.address(), b"ping", SOON)).collect();
            Ok(tries?.into_iter().min())
        };
        link.set(Impairment::NONE);
        let quick = best()?;
        link.set(Impairment { delay: Duration::from_millis(60), ..Impairment::NONE });
        let slow = best()?;
        assert!(quick < Some(Duration::from_millis(60)), "{quick:?}");
        assert!(slow >= Some(Duration::from_millis(120)), "{slow:?}");
        assert!(slow < Some(Duration::from_millis(400)), "{slow:?}");
    }
    Ok(())
}

#[test]
fn tcp_gets_through_everything_at_once() -> Result<()> {
    let (_link, a, b) = wired(Impairment {
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        loss: 0.01,
        duplicate: 0.01,
        reorder: 0.01,
        corrupt: 0.01,
        ..Impairment::NONE
    })?;
    tcp_transfer(&a, &b, "fd00::2".parse()?, 500_000, SOON)?;
    Ok(())
}

#[test]
fn a_rate_bounds_tcp_and_is_used() -> Result<()> {
    let (link, a, b) = wired(Impairment { rate: Some(Rate::mbit(20)), ..Impairment::NONE })?;
    let transfer = tcp_transfer(&a, &b, "10.0.0.2".parse()?, 1_500_000, SOON)?;
    let counters = link.counters(Direction::AToB);
    let rate = transfer.mbit_per_second();
    assert!((5.0..21.0).contains(&rate), "{rate} Mbit/s, {counters:?}");
    Ok(())
}

#[test]
fn an_outage_is_silent_and_ends() -> Result<()> {
    let (link, a, b) = wired(Impairment::NONE)?;
    let echo = echo_at(&b, "10.0.0.2:0")?;
    link.set_direction_up(Direction::BToA, false);
    let lost = udp_round_trip(&a, echo.address(), b"out", Duration::from_millis(100));
    assert!(lost.is_err());
    assert!(link.counters(Direction::BToA).dropped_down > 0);
    link.set_up(true);
    udp_round_trip(&a, echo.address(), b"back", SOON)?;
    Ok(())
}

#[test]
fn an_interface_taken_down_and_up_carries_again() -> Result<()> {
    let (link, a, b) = wired(Impairment::NONE)?;
    let echo = echo_at(&b, "10.0.0.2:0")?;
    b.ip(["link", "set", &link.device_b, "down"])?;
    assert!(udp_round_trip(&a, echo.address(), b"down", Duration::from_millis(100)).is_err());
    assert!(link.counters(Direction::AToB).refused > 0);
    b.ip(["link", "set", &link.device_b, "up"])?;
    udp_round_trip(&a, echo.address(), b"up", SOON)?;
    Ok(())
}

#[test]
fn dropping_the_link_takes_its_interfaces() -> Result<()> {
    let (link, a, _b) = wired(Impairment::NONE)?;
    let device = link.device_a.clone();
    a.ip(["link", "show", &device])?;
    drop(link);
    // A child that another test is just starting holds the file for a moment longer.
    wait_until(SOON, "the interface to go", || a.ip(["link", "show", &device]).is_err());
    Ok(())
}
