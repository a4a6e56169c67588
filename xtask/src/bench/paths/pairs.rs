//! Pairs of nodes behind NATs of all kinds: what way they find, and how soon.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netns_tests::Pinger;
use netns_tests::mesh::{Asked, MeshNode, Nat, Programs, SharedCarrier, Spread};
use serde_json::Value;

use super::ms;
use super::scene::{PATIENCE, Scene, within};
use crate::bench::{Reach, Row};

const KINDS: [Nat; 9] = [
    Nat::None,
    Nat::FullCone,
    Nat::Restricted,
    Nat::PortRestricted,
    Nat::Carrier,
    Nat::Symmetric,
    Nat::Nat64,
    Nat::NoUdp,
    Nat::OnlyHttps,
];
const CARRIERS: [(SharedCarrier, &str); 2] = [
    (SharedCarrier::Hairpin, "two homes at one carrier, with hairpin"),
    (SharedCarrier::NoHairpin, "two homes at one carrier, without hairpin"),
];
/// Routers that map ports: two hard NATs each.
const MAPPED: [(Asked, &str); 3] =
    [(Asked::Pcp, "PCP"), (Asked::NatPmp, "NAT-PMP"), (Asked::Upnp, "UPnP")];
/// Nodes of each of the two kinds where ports are guessed: as many pairs as their product.
const GUESSERS: usize = 3;
const EVERY: Duration = Duration::from_millis(50);
/// How long a pair may take, and one that guesses: it has a second try after a minute.
const SOON: Duration = Duration::from_secs(20);
const LATE: Duration = Duration::from_secs(120);
/// How long pairs that cannot be direct are watched.
const WATCHED: Duration = Duration::from_secs(6);

/// What became of a pair.
pub(super) struct Meeting {
    what: String,
    /// Until the first answer.
    first: Duration,
    /// Until both ways were direct, if they were.
    direct: Option<Duration>,
    possible: bool,
    guesses: bool,
    lost: u32,
}

/// Each with each, by nodes of their own.
pub(super) fn of_all_kinds(programs: &Programs) -> Result<Vec<Meeting>> {
    let mut scene = Scene::new(programs, true, Spread::Regions)?;
    KINDS.iter().chain(&KINDS).try_for_each(|nat| scene.add(*nat))?;
    let mut carriers = Vec::new();
    for (carrier, what) in CARRIERS {
        let (a, b) = (scene.nodes.len(), scene.nodes.len() + 1);
        let names = [super::scene::name(a), super::scene::name(b)];
        let names = [names[0].as_str(), names[1].as_str()];
        let (nodes, routers) = scene.hub.nodes_at_one_carrier(&scene.lab, names, carrier)?;
        scene.nodes.extend(nodes);
        scene.routers.push(routers);
        carriers.push((a, b, what.to_owned(), carrier == SharedCarrier::Hairpin, false));
    }
    scene.bring_up()?;
    let mut pairs = Vec::new();
    for (a, one) in KINDS.iter().enumerate() {
        for (b, other) in KINDS.iter().enumerate().skip(a) {
            let what = format!("{} with {}", one.name(), other.name());
            pairs.push((a, KINDS.len() + b, what, one.meets(*other), one.guesses(*other)));
        }
    }
    pairs.extend(carriers);
    let (possible, impossible): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|pair| pair.3);
    let mut meetings = Vec::new();
    for (a, b, what, _, guesses) in possible {
        meetings.push(meet(&scene, a, b, what, guesses)?);
    }
    meetings.extend(stay_apart(&scene, impossible)?);
    Ok(meetings)
}

/// Hard NATs with those that filter by port.
pub(super) fn that_guess(programs: &Programs) -> Result<Vec<Meeting>> {
    let nats: Vec<_> = [Nat::Symmetric, Nat::PortRestricted].repeat(GUESSERS);
    let scene = Scene::with(programs, &nats)?;
    let mut meetings = Vec::new();
    for hard in (0..nats.len()).step_by(2) {
        for strict in (1..nats.len()).step_by(2) {
            let what = format!("{} with {}", nats[strict].name(), nats[hard].name());
            meetings.push(meet(&scene, hard, strict, what, true)?);
        }
    }
    Ok(meetings)
}

/// Two hard NATs whose routers map ports, by each protocol.
pub(super) fn that_are_mapped(programs: &Programs) -> Result<Vec<Meeting>> {
    let mut scene = Scene::new(programs, true, Spread::Regions)?;
    let mut igds = Vec::new();
    for (asked, _) in MAPPED.iter().flat_map(|mapped| [mapped; 2]) {
        let (hub, name) = (&scene.hub, super::scene::name(scene.nodes.len()));
        let (node, igd) = hub.node_behind_igd(&scene.lab, &name, Nat::Symmetric, *asked)?;
        scene.nodes.push(node);
        igds.push(igd);
    }
    scene.bring_up()?;
    let mapped = |node: &MeshNode| {
        let said = node.nearwire(&["netcheck", "--json"]).unwrap_or_default();
        serde_json::from_str::<Value>(&said).is_ok_and(|said| said["mapping"]["state"] == "granted")
    };
    let all = within(PATIENCE, || scene.nodes.iter().all(mapped));
    ensure!(all.is_some(), "a router maps no port");
    let mut meetings = Vec::new();
    for (number, (_, method)) in MAPPED.iter().enumerate() {
        let what = format!("symmetric with symmetric, mapped by {method}");
        meetings.push(meet(&scene, 2 * number, 2 * number + 1, what, false)?);
    }
    Ok(meetings)
}

fn meet(scene: &Scene, a: usize, b: usize, what: String, guesses: bool) -> Result<Meeting> {
    let at = scene.nodes[b].address()?;
    let start = Instant::now();
    let pinger = Pinger::start(&scene.nodes[a].host, &at, EVERY)?;
    let first = start.elapsed();
    let direct = scene.both(a, b, "direct", if guesses { LATE } else { SOON });
    let direct = direct.map(|_| start.elapsed());
    pinger.wait_for_more(10, SOON)?;
    let lost = pinger.finish()?.lost();
    eprintln!("  {what}: {direct:?}, {lost} lost");
    Ok(Meeting { what, first, direct, possible: true, guesses, lost })
}

/// Pairs that cannot be direct, all at once.
fn stay_apart(
    scene: &Scene,
    pairs: Vec<(usize, usize, String, bool, bool)>,
) -> Result<Vec<Meeting>> {
    let mut meetings = Vec::new();
    let mut pingers = Vec::new();
    for (a, b, what, ..) in pairs {
        let at = scene.nodes[b].address()?;
        let start = Instant::now();
        pingers.push((a, b, start, Pinger::start(&scene.nodes[a].host, &at, EVERY * 4)?));
        let first = start.elapsed();
        let (direct, possible, guesses) = (None, false, false);
        meetings.push(Meeting { what, first, direct, possible, guesses, lost: 0 });
    }
    within(WATCHED, || {
        for ((a, b, start, _), meeting) in pingers.iter().zip(&mut meetings) {
            if scene.path(*a, *b) == "direct" || scene.path(*b, *a) == "direct" {
                meeting.direct.get_or_insert(start.elapsed());
            }
        }
        false
    });
    for ((.., pinger), meeting) in pingers.into_iter().zip(&mut meetings) {
        meeting.lost = pinger.finish()?.lost();
        let Meeting { what, direct, lost, .. } = meeting;
        eprintln!("  {what}: {direct:?}, {lost} lost");
    }
    Ok(meetings)
}

/// What has to be reached by those that need not guess, then each pair.
pub(super) fn rows(meetings: &[Meeting]) -> Vec<Row> {
    let easy: Vec<_> = meetings.iter().filter(|met| met.possible && !met.guesses).collect();
    let times: Vec<f64> = easy.iter().filter_map(|met| met.direct).map(ms).collect();
    let slowest = times.iter().copied().reduce(f64::max);
    let lost = easy.iter().map(|met| f64::from(met.lost)).sum();
    let direct = 100.0 * part(times.len(), easy.len());
    let soon = Some(Reach::AtMost(500.0));
    let mut rows = vec![
        Row::new(
            "pairs direct, of those possible",
            "%",
            vec![direct],
            None,
            Some(Reach::AtLeast(100.0)),
        ),
        Row::new("time to direct, easy NATs", "ms", times, None, soon),
        Row::new("the slowest of them", "ms", slowest.into_iter().collect(), None, soon),
        Row::new(
            "their echoes that were lost",
            "echoes",
            vec![lost],
            None,
            Some(Reach::AtMost(0.0)),
        ),
    ];
    let mut by_pair: BTreeMap<&str, Vec<&Meeting>> = BTreeMap::new();
    for met in meetings {
        by_pair.entry(&met.what).or_default().push(met);
    }
    for (what, met) in by_pair {
        let direct: Vec<f64> = met.iter().filter_map(|met| met.direct).map(ms).collect();
        if direct.is_empty() {
            let first = met.iter().map(|met| ms(met.first)).collect();
            rows.push(Row::new(format!("{what}: relay, first answer"), "ms", first, None, None));
        } else {
            rows.push(Row::new(format!("{what}: direct"), "ms", direct, None, None));
        }
    }
    rows
}

/// What has to be reached by those that guess.
pub(super) fn rows_of_guesses(meetings: &[Meeting]) -> Vec<Row> {
    let all: Vec<_> = meetings.iter().filter(|met| met.guesses).collect();
    let times: Vec<f64> = all.iter().filter_map(|met| met.direct).map(ms).collect();
    let direct = 100.0 * part(times.len(), all.len());
    let reach = Some(Reach::AtLeast(95.0));
    let name = format!("hard with port-restricted: direct, of {} pairs", all.len());
    vec![
        Row::new(name, "%", vec![direct], None, reach),
        Row::new("hard with port-restricted: time to direct", "ms", times, None, None),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "some dozens of pairs")]
fn part(some: usize, all: usize) -> f64 {
    some as f64 / all.max(1) as f64
}
