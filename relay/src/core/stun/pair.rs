//! Two addresses of one family, which differ in both address and port: four places from which an
//! asker is answered as it wishes, to learn what its NAT lets in (RFC 5780).

use std::net::SocketAddr;

use proto::stun::Change;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StunPair([SocketAddr; 2]);

impl StunPair {
    /// The address of lanes, and another; `None` if they are of two families, or alike in anything.
    #[must_use]
    pub fn new(first: SocketAddr, other: SocketAddr) -> Option<Self> {
        let differ = first.ip() != other.ip() && first.port() != other.port();
        (differ && first.is_ipv4() == other.is_ipv4()).then_some(Self([first, other]))
    }

    /// The other one.
    #[must_use]
    pub const fn other(&self) -> SocketAddr {
        self.0[1]
    }

    /// All places, the address of lanes first.
    #[must_use]
    pub fn places(&self) -> [SocketAddr; 4] {
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(ip, port)| self.place(ip, port))
    }

    /// The place that is changed so against this one, if it is one of the four.
    #[must_use]
    pub fn changed(&self, place: SocketAddr, change: Change) -> Option<SocketAddr> {
        let ip = self.0.iter().position(|at| at.ip() == place.ip())?;
        let port = self.0.iter().position(|at| at.port() == place.port())?;
        Some(self.place(ip ^ usize::from(change.ip), port ^ usize::from(change.port)))
    }

    fn place(&self, ip: usize, port: usize) -> SocketAddr {
        SocketAddr::new(self.0[ip].ip(), self.0[port].port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_pair_differs_in_both() {
        let first = at("192.0.2.1:3478");
        for other in ["192.0.2.1:3479", "192.0.2.2:3478", "[2001:db8::1]:3479", "192.0.2.1:3478"] {
            assert_eq!(StunPair::new(first, at(other)), None, "{other}");
        }
        assert!(StunPair::new(first, at("192.0.2.2:3479")).is_some());
    }

    #[test]
    fn a_change_is_against_the_place_that_was_asked() {
        let pair = StunPair::new(at("[2001:db8::1]:1"), at("[2001:db8::2]:2")).unwrap();
        let both = Change { ip: true, port: true };
        let port = Change { ip: false, port: true };
        for (place, all, one) in [
            ("[2001:db8::1]:1", "[2001:db8::2]:2", "[2001:db8::1]:2"),
            ("[2001:db8::1]:2", "[2001:db8::2]:1", "[2001:db8::1]:1"),
            ("[2001:db8::2]:1", "[2001:db8::1]:2", "[2001:db8::2]:2"),
            ("[2001:db8::2]:2", "[2001:db8::1]:1", "[2001:db8::2]:1"),
        ] {
            assert!(pair.places().contains(&at(place)));
            assert_eq!(pair.changed(at(place), both), Some(at(all)));
            assert_eq!(pair.changed(at(place), port), Some(at(one)));
            assert_eq!(pair.changed(at(place), Change::default()), Some(at(place)));
        }
        assert_eq!(pair.changed(at("[2001:db8::3]:1"), both), None);
    }
}
