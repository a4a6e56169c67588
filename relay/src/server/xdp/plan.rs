//! The interfaces on which the kernel is to switch: those that are named, or by which clients come.

use std::net::{IpAddr, SocketAddr};

use super::XdpChoice;
use crate::server::interfaces::Interface;

const NOWHERE: &str = "no interface but loopback has an address of `lane-addresses`: name the \
                       interfaces in `xdp`";

/// By what interfaces are chosen.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) choice: XdpChoice,
    pub(super) lane_addresses: Vec<SocketAddr>,
}

impl Plan {
    /// The interfaces on which to switch, and why those; or why none.
    pub(super) fn on(
        &self,
        interfaces: &[Interface],
    ) -> Result<(Vec<String>, &'static str), String> {
        let fit = |which: &dyn Fn(&Interface) -> bool| -> Vec<String> {
            let fitting = interfaces.iter().filter(|at| at.up && !at.loopback && which(at));
            fitting.map(|at| at.name.clone()).collect()
        };
        match &self.choice {
            XdpChoice::Off => Err("`xdp` is off".to_owned()),
            XdpChoice::On(names) => {
                let there = |name: &String| interfaces.iter().any(|at| at.name == *name);
                if names.iter().any(there) {
                    return Ok((names.clone(), "named in `xdp`"));
                }
                Err(format!("there is no interface {} yet", names.join(", ")))
            }
            XdpChoice::Auto => {
                let lanes = &self.lane_addresses;
                let told = |ip: &IpAddr| lanes.iter().any(|address| address.ip() == *ip);
                let holders = fit(&|at| at.addresses.iter().any(told));
                if !holders.is_empty() {
                    return Ok((holders, "it has an address of `lane-addresses`"));
                }
                // Behind a NAT that maps public addresses to this host.
                let ways_out = fit(&|at| at.default_route);
                if ways_out.is_empty() || lanes.iter().all(|at| at.ip().is_loopback()) {
                    return Err(NOWHERE.to_owned());
                }
                Ok((ways_out, "a default route leaves by it"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, address: &str, default_route: bool) -> Interface {
        Interface {
            name: name.to_owned(),
            index: 7,
            mtu: 1500,
            up: true,
            loopback: name == "lo",
            addresses: vec![address.parse().unwrap()],
            default_route,
        }
    }

    #[test]
    fn interfaces_are_found_by_address_or_by_the_way_out() {
        let host = [
            interface("lo", "127.0.0.1", false),
            interface("out", "10.0.0.5", true),
            interface("in", "192.0.2.1", false),
        ];
        let names = |choice: &str, address: &str| {
            let addresses = [SocketAddr::new(address.parse().unwrap(), 3478)];
            let plan = Plan { choice: choice.parse().unwrap(), lane_addresses: addresses.to_vec() };
            plan.on(&host).map(|(names, _)| names)
        };
        assert_eq!(names("auto", "192.0.2.1"), Ok(vec!["in".to_owned()]));
        assert_eq!(names("auto", "203.0.113.1"), Ok(vec!["out".to_owned()]));
        assert!(names("auto", "127.0.0.1").unwrap_err().contains("`xdp`"));
        assert!(names("off", "192.0.2.1").unwrap_err().contains("off"));
        assert_eq!(names("in, b", "192.0.2.1"), Ok(vec!["in".to_owned(), "b".to_owned()]));
        assert!(names("a, b", "192.0.2.1").unwrap_err().contains("no interface a, b yet"));
        for wrong in ["", "a,,b", "lo", "a,lo"] {
            assert!(wrong.parse::<XdpChoice>().is_err(), "{wrong}");
        }
    }
}
