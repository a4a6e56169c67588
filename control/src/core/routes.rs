//! Which routes of several nodes go together.
//!
//! A route within another is good: packets take the longest prefix, as with WireGuard everywhere. The
//! same route twice is not: nothing would say which way packets go. Of exit nodes there may be many,
//! since who uses one names it.

use ipnet::IpNet;

use super::node::Node;

/// A route that another node has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{route} is approved for {name} ({id}) already, and packets can go one way only: take it from \
     that node first, or approve a longer prefix within it"
)]
pub struct RouteTaken {
    route: IpNet,
    name: String,
    id: String,
}

/// Refuses to approve for a node what is approved for another.
pub fn approve(
    node: &Node,
    routes: &[IpNet],
    others: impl IntoIterator<Item = Node>,
) -> Result<(), RouteTaken> {
    let asked = |route: &IpNet| route.prefix_len() > 0 && routes.contains(route);
    for other in others.into_iter().filter(|other| other.id != node.id) {
        // Also what the other does not offer at the moment: it may again, and nobody would be asked.
        if let Some(&route) = other.approved.iter().find(|route| asked(route)) {
            let id = other.id.to_string();
            return Err(RouteTaken { route, name: other.name, id });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::view::tests::node;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_route_is_one_nodes_and_a_longer_prefix_is_anothers() {
        let (own, mut other) = (node(1, 0), node(2, 0));
        other.approved = nets(&["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"]);
        let tried = |texts: &[&str]| approve(&own, &nets(texts), [own.clone(), other.clone()]);
        let good: [&[&str]; 3] = [&["10.1.0.0/16"], &["0.0.0.0/0", "::/0"], &["2001:db8:1::/48"]];
        for routes in good {
            assert_eq!(tried(routes), Ok(()), "{routes:?}");
        }
        for route in ["10.0.0.0/8", "2001:db8::/32"] {
            let refused = tried(&["192.168.0.0/16", route]).unwrap_err().to_string();
            let named = format!("{route} is approved for {} ({})", other.name, other.id);
            assert!(refused.contains(&named), "{refused}");
        }
        assert_eq!(approve(&other, &other.approved, [own, other.clone()]), Ok(()), "its own");
    }
}
