//! All that decides about a query: our names, and who is asked for the others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::rr::{LowerName, Name};

use super::Zone;
use super::zone::{BadName, host_name};

/// Who is asked for which names.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// The longest domain first.
    domains: Vec<(LowerName, Arc<[SocketAddr]>)>,
    others: Arc<[SocketAddr]>,
}

impl Routes {
    /// Takes domains and whom to ask for them (an empty domain is all others), and whom the host asks,
    /// which counts where nobody is named for all others. Whoever is in `own`, this resolver itself,
    /// is left out; domains that cannot be names are passed over, and told.
    pub fn new(
        forward: &BTreeMap<String, Vec<SocketAddr>>,
        host: &[SocketAddr],
        own: &[SocketAddr],
    ) -> (Self, Vec<BadName>) {
        let others_than_us = |upstreams: &[SocketAddr]| -> Arc<[SocketAddr]> {
            let is_us = |upstream: &SocketAddr| {
                let asks = |own: &SocketAddr| own.ip() == upstream.ip().to_canonical();
                upstream.ip().is_unspecified()
                    || upstream.port() == 0
                    || own.iter().any(|own| asks(own) && own.port() == upstream.port())
            };
            upstreams.iter().copied().filter(|upstream| !is_us(upstream)).collect()
        };
        let mut routes = Self { domains: Vec::new(), others: others_than_us(host) };
        let mut bad = Vec::new();
        for (domain, upstreams) in forward {
            let upstreams = others_than_us(upstreams);
            if domain.trim_end_matches('.').is_empty() {
                routes.others = upstreams;
                continue;
            }
            match host_name(domain) {
                Ok(name) => routes.domains.push((LowerName::new(&name), upstreams)),
                Err(error) => bad.push(error),
            }
        }
        routes.domains.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.num_labels()));
        (routes, bad)
    }

    /// The domains for which somebody is named.
    pub fn domains(&self) -> impl Iterator<Item = &Name> {
        self.domains.iter().map(|(domain, _)| &**domain)
    }

    /// Who is named for a name's domain, and how long that domain is.
    fn named(&self, name: &LowerName) -> Option<(u8, &Arc<[SocketAddr]>)> {
        let (domain, upstreams) = self.domains.iter().find(|(domain, _)| domain.zone_of(name))?;
        Some((domain.num_labels(), upstreams))
    }
}

/// All that decides about a query.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The network's names.
    pub zone: Zone,
    /// Who is asked for the others.
    pub routes: Routes,
}

impl Plan {
    /// Whom to ask for a name that is not the mesh's; none if it is to be nobody.
    pub(super) fn ask(&self, name: &LowerName) -> Option<Arc<[SocketAddr]>> {
        if let Some((_, upstreams)) = self.routes.named(name) {
            return Some(Arc::clone(upstreams));
        }
        (!self.zone.guarded(name)).then(|| Arc::clone(&self.routes.others))
    }

    /// Whom to ask for a name that would be in the mesh's domain, where somebody is named for a part
    /// of that.
    pub(super) fn delegated(&self, name: &LowerName, zone: &Name) -> Option<Arc<[SocketAddr]>> {
        let (labels, upstreams) = self.routes.named(name)?;
        (labels > zone.num_labels()).then(|| Arc::clone(upstreams))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> LowerName {
        LowerName::new(&host_name(text).unwrap())
    }

    #[test]
    fn the_longest_domain_counts_and_we_are_not_asked() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let forward = BTreeMap::from([
            ("corp.example".to_owned(), vec![at("10.0.0.1:53")]),
            ("lab.corp.example.".to_owned(), vec![at("10.0.0.2:53"), at("169.254.53.53:53")]),
        ]);
        let host = [at("9.9.9.9:53"), at("169.254.53.53:53"), at("0.0.0.0:53")];
        let routes = Routes::new(&forward, &host, &[at("169.254.53.53:53")]).0;
        let zone = Zone::new("home.mesh", vec![]).unwrap();
        let plan = Plan { zone, routes };
        let asked = |of: &str| plan.ask(&name(of)).map(|upstreams| upstreams.to_vec());
        assert_eq!(asked("a.LAB.corp.example"), Some(vec![at("10.0.0.2:53")]));
        assert_eq!(asked("corp.example"), Some(vec![at("10.0.0.1:53")]));
        assert_eq!(asked("xcorp.example"), Some(vec![at("9.9.9.9:53")]));
        assert_eq!(asked("web.other.mesh"), None);
    }

    #[test]
    fn the_network_may_name_who_is_asked_for_all_others() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let forward = BTreeMap::from([(String::new(), vec![at("10.0.0.1:53")])]);
        let routes = Routes::new(&forward, &[at("9.9.9.9:53")], &[]).0;
        let plan = Plan { zone: Zone::default(), routes };
        assert_eq!(plan.ask(&name("example.com")).unwrap().to_vec(), [at("10.0.0.1:53")]);
        let bad = Routes::new(&BTreeMap::from([("a b".to_owned(), vec![])]), &[], &[]).1;
        assert_eq!(bad.len(), 1);
    }
}
