//! What a netmap makes of the interface, as far as this node wants it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use proto::control::{Netmap, NodeId, Standing};
use proto::key::PublicKey;
use serde::{Deserialize, Serialize};

use super::state::Settings;

/// The state that the interface is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) addresses: BTreeSet<IpNet>,
    pub(crate) routes: BTreeSet<IpNet>,
    pub(crate) peers: BTreeMap<NodeId, WantedPeer>,
    /// Routes that peers offer and that are not used.
    pub(crate) refused: Vec<RefusedRoute>,
}

/// A peer of the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedPeer {
    pub(crate) key: PublicKey,
    pub(crate) next_key: Option<PublicKey>,
    pub(crate) allowed_ips: BTreeSet<IpNet>,
}

/// A route that is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedRoute {
    pub(crate) route: IpNet,
    /// Who offers it.
    pub(crate) peer: String,
    pub(crate) reason: String,
}

impl Wanted {
    /// What this netmap makes of it. `local` are the networks of the host's other interfaces.
    pub(crate) fn of(netmap: &Netmap, settings: &Settings, local: &[IpNet]) -> Self {
        if netmap.me.standing != Standing::Approved {
            return Self::default();
        }
        let network = [IpNet::from(netmap.network.v4), netmap.network.v6.into()];
        let mut wanted = Self {
            addresses: netmap.me.addresses.iter().map(|&address| host(address)).collect(),
            routes: network.into_iter().map(|net| net.trunc()).collect(),
            ..Self::default()
        };
        for peer in netmap.peers.values() {
            wanted.peers.insert(
                peer.id,
                WantedPeer {
                    key: peer.key,
                    next_key: peer.next_key,
                    allowed_ips: peer.addresses.iter().map(|&address| host(address)).collect(),
                },
            );
            for route in &peer.routes {
                match wanted.refusal(route, settings, &network, local) {
                    None => wanted.take_route(route.trunc(), peer.id),
                    Some(reason) => {
                        let (route, peer) = (*route, peer.name.clone());
                        wanted.refused.push(RefusedRoute { route, peer, reason });
                    }
                }
            }
        }
        wanted
    }

    fn take_route(&mut self, route: IpNet, id: NodeId) {
        self.routes.insert(route);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.allowed_ips.insert(route);
        }
    }

    /// Why a route is not used, if it is not.
    fn refusal(
        &self,
        route: &IpNet,
        settings: &Settings,
        network: &[IpNet],
        local: &[IpNet],
    ) -> Option<String> {
        let overlaps = |other: &IpNet| other.contains(route) || route.contains(other);
        if route.prefix_len() == 0 {
            return Some("a route to everything takes an exit node, which there is not yet".into());
        }
        if !settings.accept_routes {
            return Some("this node does not accept routes (nearwire up --accept-routes)".into());
        }
        if let Some(own) = network.iter().find(|own| overlaps(own)) {
            return Some(format!("it overlaps the network's own addresses {own}"));
        }
        if let Some(own) = settings.advertise_routes.iter().find(|own| overlaps(own)) {
            return Some(format!("this node offers {own} itself: packets would go in a circle"));
        }
        if let Some(near) = local.iter().find(|near| overlaps(near)) {
            return Some(format!("it overlaps {near}, which this host is connected to"));
        }
        self.routes.contains(&route.trunc()).then(|| "another peer offers the same".to_owned())
    }
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

#[cfg(test)]
pub(super) mod tests {
    use proto::control::Snapshot;
    use serde_json::json;

    use super::*;

    pub(in crate::mesh) fn netmap(peers: &[(char, &str, &[&str])]) -> Netmap {
        let key = |seed: u8| PublicKey::from([seed; 32]).to_base64();
        let id = |digit: char| format!("n{}", digit.to_string().repeat(32));
        let peers: Vec<_> = (2_u8..)
            .zip(peers)
            .map(|(number, (digit, name, routes))| {
                json!({
                    "id": id(*digit), "name": name, "key": key(number), "routes": routes,
                    "addresses": [format!("100.64.0.{number}"), format!("fd00::{number}")],
                })
            })
            .collect();
        let snapshot = json!({
            "revision": 1,
            "network": {
                "id": "00".repeat(16), "name": "home", "v4": "100.64.0.0/10", "v6": "fd00::/64",
            },
            "me": {
                "id": id('1'), "name": "me", "addresses": ["100.64.0.1", "fd00::1"],
                "key": key(1), "standing": "approved",
            },
            "peers": peers, "regions": [], "filter": {}, "dns": { "domain": "home.mesh" },
        });
        Netmap::from(serde_json::from_value::<Snapshot>(snapshot).unwrap())
    }

    fn settings() -> Settings {
        Settings { accept_routes: true, ..Settings::default() }
    }

    fn reasons(wanted: &Wanted) -> Vec<&str> {
        wanted.refused.iter().map(|refused| refused.reason.as_str()).collect()
    }

    #[test]
    fn a_peer_has_its_own_addresses_and_the_routes_that_are_accepted() {
        let netmap = netmap(&[('2', "web", &["10.1.0.0/16"]), ('3', "db", &[])]);
        let wanted = Wanted::of(&netmap, &settings(), &[]);
        let texts: Vec<_> = wanted.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["100.64.0.1/32", "fd00::1/128"]);
        assert_eq!(wanted.routes.len(), 3);
        let web = wanted.peers.values().next().unwrap();
        assert_eq!(web.allowed_ips.len(), 3);
        assert!(wanted.refused.is_empty());
        let wanted = Wanted::of(&netmap, &Settings::default(), &[]);
        assert_eq!((wanted.routes.len(), wanted.refused.len()), (2, 1));
    }

    #[test]
    fn circles_and_overlaps_are_refused_with_a_reason() {
        let offered = |route: &'static str| netmap(&[('2', "web", &[route])]);
        let refused = |route, settings: &Settings, local: &[IpNet]| {
            let wanted = Wanted::of(&offered(route), settings, local);
            reasons(&wanted).join(";")
        };
        let near = ["10.1.2.0/24".parse().unwrap()];
        assert!(refused("10.1.0.0/16", &settings(), &near).contains("connected to"));
        assert!(refused("100.70.0.0/16", &settings(), &[]).contains("own addresses"));
        let own = vec!["10.1.0.0/24".parse().unwrap()];
        let offers = Settings { advertise_routes: own, ..settings() };
        assert!(refused("10.1.0.0/16", &offers, &[]).contains("circle"));
        assert!(refused("0.0.0.0/0", &settings(), &[]).contains("exit node"));
        let twice = netmap(&[('2', "web", &["10.1.0.0/16"]), ('3', "db", &["10.1.0.0/16"])]);
        let wanted = Wanted::of(&twice, &settings(), &[]);
        assert_eq!(reasons(&wanted), ["another peer offers the same"]);
    }

    #[test]
    fn who_waits_for_approval_has_nothing() {
        let mut netmap = netmap(&[('2', "web", &[])]);
        netmap.me.standing = Standing::Pending;
        assert_eq!(Wanted::of(&netmap, &settings(), &[]), Wanted::default());
    }
}
