//! Whether lanes are switched by the kernel, on which interfaces, and why not.

mod places;

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::Result;
use dataplane::{LaneOptions, LaneSwitch, XdpMode};
pub(super) use places::Places;

use super::interfaces::Interface;
use super::kernel_switch::KernelSwitch;
use crate::core::{Settings, Stun};

/// What the operator says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum XdpChoice {
    /// On the interfaces by which clients come.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// On these interfaces.
    On(Vec<String>),
}

/// Where lanes are switched: what an operator is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct XdpStatus {
    /// Where the kernel does it.
    pub(super) interfaces: Vec<Attached>,
    /// Why it does not, or not everywhere.
    pub(super) refused: Vec<String>,
}

/// An interface on which the kernel switches.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Attached {
    pub(super) interface: String,
    /// `driver` or `generic`.
    pub(super) mode: String,
    /// Why in this mode.
    pub(super) why: String,
}

impl FromStr for XdpChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ if names.iter().any(String::is_empty) => {
                Err("`auto`, `off`, or names of interfaces with commas between them".to_owned())
            }
            _ if names.iter().any(|name| name == "lo") => {
                Err("not on `lo`: what goes there has no checksums and any size".to_owned())
            }
            _ => Ok(Self::On(names)),
        }
    }
}

impl TryFrom<String> for XdpChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The interfaces on which to switch, and why those; or why none.
pub(super) fn plan(
    choice: &XdpChoice,
    lane_addresses: &[SocketAddr],
    interfaces: &[Interface],
) -> Result<(Vec<String>, &'static str), String> {
    let fit = |which: &dyn Fn(&Interface) -> bool| -> Vec<String> {
        let fitting = interfaces.iter().filter(|at| at.up && !at.loopback && which(at));
        fitting.map(|at| at.name.clone()).collect()
    };
    match choice {
        XdpChoice::Off => Err("`xdp` is off".to_owned()),
        XdpChoice::On(names) => Ok((names.clone(), "named in `xdp`")),
        XdpChoice::Auto => {
            let told = |ip: &IpAddr| lane_addresses.iter().any(|address| address.ip() == *ip);
            let holders = fit(&|at| at.addresses.iter().any(told));
            if !holders.is_empty() {
                return Ok((holders, "it has an address of `lane-addresses`"));
            }
            // Behind a NAT that maps public addresses to this host.
            let ways_out = fit(&|at| at.default_route);
            if ways_out.is_empty() || lane_addresses.iter().all(|at| at.ip().is_loopback()) {
                return Err("no interface but loopback has an address of `lane-addresses`: name \
                            the interfaces in `xdp`"
                    .to_owned());
            }
            Ok((ways_out, "a default route leaves by it"))
        }
    }
}

/// What the kernel's table is to hold.
fn options(settings: &Settings, port: u16) -> LaneOptions {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let capacity = number(2 * settings.lanes);
    // Who is gone keeps its lanes for a while.
    let clients = number(settings.clients).saturating_add(capacity).saturating_add(1);
    // The kernel's program knows one address only.
    let answers = settings.stun.is_empty().then(Stun::allowance);
    LaneOptions { capacity, clients, port, answers }
}

/// Tries whether the kernel takes the program; nothing is attached.
pub(super) fn try_load(port: u16) -> Result<(), dataplane::Error> {
    let options = LaneOptions { capacity: 2, clients: 2, port, answers: Some(Stun::allowance()) };
    LaneSwitch::load(options).map(drop)
}

/// Has the kernel switch lanes as far as it can be had.
pub(super) fn attach(
    choice: &XdpChoice,
    settings: &Settings,
    bound: SocketAddr,
    interfaces: &[Interface],
) -> (Option<KernelSwitch>, XdpStatus) {
    let mut status = XdpStatus::default();
    let (names, why) = match plan(choice, &settings.lane_addresses, interfaces) {
        Ok(planned) => planned,
        Err(why) => return status.without(why),
    };
    let switch = match LaneSwitch::load(options(settings, bound.port())) {
        Ok(switch) => switch,
        Err(error) => return status.without(reason(&error)),
    };
    let mut kernel = KernelSwitch::new(switch, bound, Places::new(names, why));
    let followed = kernel.follow(interfaces);
    status = kernel.xdp();
    match followed {
        Ok(()) if status.interfaces.is_empty() => {
            status.without("no interface could be had".to_owned())
        }
        Ok(()) => (Some(kernel), status),
        Err(error) => status.without(reason(&error)),
    }
}

/// What an operator is told in one line; the rest is for who looks into it.
pub(super) fn reason(error: &dataplane::Error) -> String {
    tracing::debug!(%error);
    error.summary()
}

impl XdpStatus {
    /// Nothing is switched by the kernel, for this reason too.
    pub(super) fn without(mut self, why: String) -> (Option<KernelSwitch>, Self) {
        self.interfaces.clear();
        self.refused.push(why);
        (None, self)
    }

    /// Whether the kernel switches on an interface in its own path, where datagrams may have been
    /// joined before.
    pub(super) fn is_generic(&self) -> bool {
        self.interfaces.iter().any(|at| at.mode == XdpMode::Generic.to_string())
    }

    /// Says it in the log.
    pub(super) fn tell(&self) {
        for Attached { interface, mode, why } in &self.interfaces {
            tracing::info!(interface, mode, why, "lanes are switched by the kernel (XDP)");
        }
        let none = self.interfaces.is_empty();
        for why in &self.refused {
            if none {
                tracing::warn!(why, "lanes are switched in user space");
            } else {
                tracing::warn!(why, "lanes are switched in user space on one interface");
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
            plan(&choice.parse().unwrap(), &addresses, &host).map(|(names, _)| names)
        };
        assert_eq!(names("auto", "192.0.2.1"), Ok(vec!["in".to_owned()]));
        assert_eq!(names("auto", "203.0.113.1"), Ok(vec!["out".to_owned()]));
        assert!(names("auto", "127.0.0.1").unwrap_err().contains("`xdp`"));
        assert!(names("off", "192.0.2.1").unwrap_err().contains("off"));
        assert_eq!(names("a, b", "192.0.2.1"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        for wrong in ["", "a,,b", "lo", "a,lo"] {
            assert!(wrong.parse::<XdpChoice>().is_err(), "{wrong}");
        }
    }
}
