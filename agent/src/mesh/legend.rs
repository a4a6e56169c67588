//! What a netmap tells beside its filter: what nodes are called, and what rules say. Pure.

use std::net::IpAddr;

use proto::control::{Netmap, NodeId};

use crate::wg::{KnownNode, Legend};

/// The legend of a netmap.
pub(super) fn of(netmap: &Netmap) -> Legend {
    let node = |(id, name, addresses): Known<'_>| KnownNode {
        id: id.to_string(),
        name: name.to_owned(),
        addresses: addresses.to_vec(),
    };
    Legend {
        domain: netmap.dns.domain.clone(),
        nodes: nodes(netmap).map(node).collect(),
        rules: netmap.rules.clone(),
    }
}

/// Whether it is that of this netmap. Asked at each change of any peer.
pub(super) fn is_of(legend: &Legend, netmap: &Netmap) -> bool {
    let known = legend.nodes.iter().map(|node| (node.name.as_str(), node.addresses.as_slice()));
    legend.domain == netmap.dns.domain
        && legend.rules == netmap.rules
        && known.eq(nodes(netmap).map(|(_, name, addresses)| (name, addresses)))
}

type Known<'a> = (NodeId, &'a str, &'a [IpAddr]);

/// This node first.
fn nodes(netmap: &Netmap) -> impl Iterator<Item = Known<'_>> {
    let me = &netmap.me;
    let peers = netmap.peers.values();
    let peers = peers.map(|peer| (peer.id, peer.name.as_str(), peer.addresses.as_slice()));
    std::iter::once((me.id, me.name.as_str(), me.addresses.as_slice())).chain(peers)
}

#[cfg(test)]
mod tests {
    use proto::control::RuleLine;

    use super::*;
    use crate::mesh::wanted::tests::netmap;

    #[test]
    fn a_legend_is_that_of_its_netmap_until_a_name_or_a_peer_changes() {
        let mut netmap = netmap(&[('2', "web", &[]), ('3', "db", &[])]);
        let legend = of(&netmap);
        let names: Vec<&str> = legend.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["me", "web", "db"]);
        assert!(is_of(&legend, &netmap));
        netmap.peers.values_mut().for_each(|peer| peer.online = !peer.online);
        assert!(is_of(&legend, &netmap));
        netmap.me.name = "laptop".to_owned();
        assert!(!is_of(&legend, &netmap));
        let mut moved = netmap.clone();
        moved.rules.insert(1, RuleLine { id: 1, line: 2, text: None });
        assert!(!is_of(&of(&netmap), &moved));
        let mut fewer = netmap.clone();
        fewer.peers.pop_first();
        assert!(!is_of(&of(&netmap), &fewer));
    }
}
