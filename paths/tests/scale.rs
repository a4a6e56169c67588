//! Ten thousand known peers, a thousand of them with traffic: work is for those alone.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::Timestamp;
use paths::{Action, Choice, Observed, Paths, Theirs};
use proto::control::NodeId;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

const KNOWN: u16 = 10_000;
const ACTIVE: u16 = 1_000;

fn id(number: u16) -> NodeId {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    NodeId(id)
}

/// Lets time pass until then; how often that took a look, and who was sent what.
fn pass(paths: &mut Paths, until: Timestamp) -> (u32, BTreeSet<NodeId>, u32) {
    let (mut looks, mut who, mut sent) = (0, BTreeSet::new(), 0);
    while let Some((at, _)) = paths.poll_timeout().filter(|(at, _)| *at <= until) {
        paths.handle_timeout(at);
        looks += 1;
        while let Some(action) = paths.poll_action() {
            if let Action::Send { peer, .. } = action {
                who.insert(peer);
                sent += 1;
            }
        }
    }
    (looks, who, sent)
}

#[test]
fn idle_peers_cost_nothing_and_active_ones_little() {
    let mut paths = Paths::new(Box::new(SmallRng::seed_from_u64(1)));
    let start = Timestamp::from_epoch(Duration::from_secs(1000));
    for number in 0..KNOWN {
        let [high, low] = number.to_be_bytes();
        let theirs =
            Theirs { at: vec![([192, 0, high, low], 7).into()], relay: true, ..Theirs::default() };
        paths.set(id(number), theirs, start);
    }
    while paths.poll_action().is_some() {}
    let idle = paths.size();
    assert_eq!(pass(&mut paths, start + Duration::from_secs(3600)), (0, BTreeSet::new(), 0));
    assert!(paths.poll_timeout().is_none(), "nothing is due for nobody");

    let begin = start + Duration::from_secs(3600);
    for number in 0..ACTIVE {
        paths.wake_up(id(number), begin);
    }
    let mut looks = 0;
    let mut sent = 0;
    for second in 1..=50 {
        let now = begin + Duration::from_secs(second);
        for number in 0..ACTIVE {
            let observed = Observed { sent: second * 1000, ..Observed::default() };
            paths.observe(id(number), observed, now);
        }
        let (more, who, packets) = pass(&mut paths, now);
        assert!(who.iter().all(|who| *who < id(ACTIVE)), "an idle peer is sent something");
        (looks, sent) = (looks + more, sent + packets);
    }
    println!("{looks} looks, {sent} packets, {} things remembered", paths.size());
    // Three searches of six rounds, three of them with a call, and what ends them.
    assert!(looks <= u32::from(ACTIVE) * 40, "{looks} looks");
    assert!(sent <= u32::from(ACTIVE) * 40, "{sent} packets");
    assert!(paths.size() <= idle + usize::from(ACTIVE) * 40, "{} of {idle}", paths.size());
    let all = (0..KNOWN).map(id);
    assert!(all.into_iter().all(|id| paths.choice(&id) == Some(Choice::Relay)));

    pass(&mut paths, begin + Duration::from_secs(300));
    assert_eq!(paths.poll_timeout(), None, "all are idle again");
}
