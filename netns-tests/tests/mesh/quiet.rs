//! Flows with pauses, through NATs that forget soon.

use std::time::Duration;

use anyhow::{Context as _, Result};
use netns_tests::mesh::{Hub, HubOptions, MeshNode, Nat};
use netns_tests::{Lab, Pinger, wait_until};
use serde_json::Value;

const HUB: HubOptions = HubOptions { forwards: true, relay: true };
/// Longer than the NATs remember, by far.
const SELDOM: Duration = Duration::from_secs(8);
/// One lapse teaches it; on a busy machine, it may take some.
const LEARNT: Duration = Duration::from_secs(240);
const FORGETS: &str = "3";

fn explain(node: &MeshNode, peer: &str) -> Result<Value> {
    Ok(serde_json::from_str(&node.nearwire(&["explain", peer, "--json"])?)?)
}

#[test]
fn a_flow_with_pauses_stays_direct_once_it_is_learnt_how_soon_nats_forget() -> Result<()> {
    let lab = Lab::new("mesh-quiet")?;
    let mut hub = Hub::start(&lab, HUB)?;
    hub.start_relays(2)?;
    let key = hub.auth_key(&["--reusable", "--tag", "tag:node"])?;
    let (a, mut routers) = hub.node_behind(&lab, "a", Nat::PortRestricted)?;
    let (b, of_b) = hub.node_behind(&lab, "b", Nat::PortRestricted)?;
    routers.extend(of_b);
    for router in &routers {
        for timeout in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
            router.sysctl(&format!("net.netfilter.{timeout}"), FORGETS)?;
        }
    }
    let ends = [(&a, "b"), (&b, "a")];
    for (node, _) in ends {
        node.up(&hub, &key, &[])?;
    }
    for (node, peer) in ends {
        node.wait_for("its peer and a home", |status| {
            let peers = status["peers"].as_array().into_iter().flatten();
            let names: Vec<_> = peers.filter_map(|peer| peer["name"].as_str()).collect();
            names == [peer] && !status["relay"].is_null()
        });
    }
    let pinger = Pinger::start(&a.host, &b.address()?, SELDOM)?;
    let is_direct = |(node, peer): (&MeshNode, &str)| {
        node.peer(peer).is_ok_and(|peer| peer["path"] == "direct")
    };
    // Who pings more often keeps the way open for both.
    let has_learnt =
        |(node, peer)| explain(node, peer).is_ok_and(|said| !said["lapsed_ms"].is_null());
    wait_until(LEARNT, "it to be learnt", || {
        ends.into_iter().any(has_learnt) && ends.into_iter().all(is_direct)
    });
    // What was under way while a way was forgotten may be lost.
    pinger.wait_for_more(3, LEARNT)?;
    wait_until(LEARNT, "a direct way", || ends.into_iter().all(is_direct));

    let changes =
        || ends.map(|(node, peer)| explain(node, peer).map(|said| said["changes"].clone()).ok());
    let (before, asked) = (changes(), pinger.answered());
    pinger.wait_for_more(5, LEARNT)?;
    assert_eq!(changes(), before, "another way");
    assert!(ends.into_iter().all(is_direct));
    let pauses: Vec<_> = ends
        .into_iter()
        .map(|(node, peer)| explain(node, peer)?["keepalive_ms"].as_u64().context("a pause"))
        .collect::<Result<_>>()?;
    assert!(pauses.iter().min() < Some(&3000), "{pauses:?}");
    let said = ends.into_iter().map(|(node, peer)| node.nearwire(&["explain", peer]));
    let said = said.collect::<Result<Vec<_>>>()?.concat();
    assert!(said.contains("while it is quiet: a NAT has forgotten it after"), "{said}");
    let count = pinger.finish()?;
    println!(
        "{pauses:?} ms; {} of {} lost; {asked} until it was learnt",
        count.lost(),
        count.transmitted
    );
    assert!(count.lost() <= 3, "{count:?}");
    Ok(())
}
