//! A host without IPv4 behind NAT64: hosts of IPv4 are reached by addresses of a prefix (RFC 6052), which the
//! host's own DNS gives away (RFC 7050).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use proto::control::Region;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// A name that has these two addresses, and none of IPv6 but what NAT64's DNS makes of them.
const NAME: &str = "ipv4only.arpa";
const KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
/// Lengths that a prefix may have.
const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];
/// Byte of an address that is zero, where it is not the prefix's.
const ZERO: usize = 8;
/// How often the host's DNS is asked while it does not answer, and how soon again at first.
const TIMES: u32 = 6;
const AGAIN: Duration = Duration::from_secs(1);

/// A prefix of NAT64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    network: Ipv6Addr,
    len: u8,
}

impl Prefix {
    /// What has made these addresses of the known name, if it was NAT64.
    fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        addresses.into_iter().find_map(|address| {
            let IpAddr::V6(network) = address else { return None };
            let prefixes = LENGTHS.into_iter().map(|len| Self { network, len });
            prefixes.into_iter().find(|prefix| KNOWN.iter().any(|v4| prefix.embed(*v4) == network))
        })
    }

    /// By which address the host there is reached.
    fn embed(self, v4: Ipv4Addr) -> Ipv6Addr {
        let mut bytes = [0; 16];
        let mut at = usize::from(self.len / 8);
        bytes[..at].copy_from_slice(&self.network.octets()[..at]);
        for byte in v4.octets() {
            at += usize::from(at == ZERO);
            bytes[at] = byte;
            at += 1;
        }
        bytes.into()
    }

    fn of_ip(self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(v4) => self.embed(v4).into(),
            IpAddr::V6(_) => ip,
        }
    }

    /// How this host reaches it.
    pub(crate) fn reach(self, at: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.of_ip(at.ip()), at.port())
    }

    /// Relays as this host reaches them.
    pub(super) fn regions(self, regions: &[Region]) -> Vec<Region> {
        let mut regions = regions.to_vec();
        for relay in regions.iter_mut().flat_map(|region| &mut region.relays) {
            relay.addresses.iter_mut().for_each(|ip| *ip = self.of_ip(*ip));
        }
        regions
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.embed(Ipv4Addr::UNSPECIFIED), self.len)
    }
}

/// What the host needs of it.
pub(super) struct Nat64 {
    pub(super) prefix: Option<Prefix>,
    found: mpsc::Receiver<Option<Prefix>>,
    say: mpsc::Sender<Option<Prefix>>,
    search: Option<AbortHandle>,
}

impl Nat64 {
    pub(super) fn new() -> Self {
        let (say, found) = mpsc::channel(1);
        Self { prefix: None, found, say, search: None }
    }

    /// The host has these addresses: one without IPv4 may need it.
    pub(super) fn look(&mut self, local: &[IpNet]) {
        if let Some(search) = self.search.take() {
            search.abort();
        }
        let say = self.say.clone();
        let needs = !local.is_empty() && local.iter().all(|net| net.addr().is_ipv6());
        let search = tokio::spawn(async move {
            let prefix = if needs { search().await } else { None };
            // The node may be gone.
            let _ = say.send(prefix).await;
        });
        self.search = Some(search.abort_handle());
    }

    /// Waits until it is another.
    pub(super) async fn changed(&mut self) {
        loop {
            match self.found.recv().await {
                Some(found) if found != self.prefix => return self.prefix = found,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// Asks the host's DNS, some times.
async fn search() -> Option<Prefix> {
    for time in 0..TIMES {
        match tokio::net::lookup_host((NAME, 0)).await {
            Ok(found) => return Prefix::of(found.map(|at| at.ip())),
            Err(error) => tracing::debug!(%error, "whether there is NAT64 is not known"),
        }
        tokio::time::sleep(AGAIN * (1 << time)).await;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_all_lengths_are_found_and_used_as_in_rfc_6052() {
        let v4 = Ipv4Addr::new(192, 0, 2, 33);
        for (known, shown, there) in [
            ("2001:db8:c000:aa::", "2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:1c0:0:aa::", "2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122:c000:0:aa00::", "2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:3c0:0:ab::", "2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            (
                "2001:db8:122:344:c0:0:aa00::",
                "2001:db8:122:344::/64",
                "2001:db8:122:344:c0:2:2100::",
            ),
            (
                "2001:db8:122:344::192.0.0.171",
                "2001:db8:122:344::/96",
                "2001:db8:122:344::192.0.2.33",
            ),
            ("64:ff9b::192.0.0.170", "64:ff9b::/96", "64:ff9b::192.0.2.33"),
        ] {
            let prefix = Prefix::of([known.parse().unwrap()]).unwrap();
            assert_eq!(prefix.to_string(), shown);
            assert_eq!(prefix.embed(v4), there.parse::<Ipv6Addr>().unwrap(), "{shown}");
        }
    }

    #[test]
    fn what_is_no_answer_of_nat64_is_none() {
        let of = |texts: &[&str]| Prefix::of(texts.iter().map(|text| text.parse().unwrap()));
        assert_eq!(of(&["192.0.0.170", "192.0.0.171"]), None, "no NAT64");
        assert_eq!(of(&["2001:db8::1", "64:ff9b::192.0.0.1"]), None);
        let found = of(&["192.0.0.170", "2001:db8::1", "64:ff9b::192.0.0.170"]).unwrap();
        let reach = |text: &str| found.reach(text.parse().unwrap()).to_string();
        assert_eq!(reach("192.0.2.33:7"), "[64:ff9b::c000:221]:7");
        assert_eq!(reach("[2001:db8::1]:7"), "[2001:db8::1]:7");
    }
}
