//! Whether lanes are switched by the kernel, on which interfaces, and why not.

mod keeper;
mod places;
mod plan;

use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::Result;
use dataplane::{LaneOptions, LaneSwitch, XdpMode};
pub(super) use keeper::{Keeper, Lost};
pub(super) use places::Places;
use plan::Plan;
use tokio::sync::oneshot;

use super::interfaces::Interface;
use super::kernel_switch::KernelSwitch;
use crate::core::{Settings, Stun, SwitchChange};

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

/// What an operator is told before a relay starts.
pub(super) fn foretell(
    choice: &XdpChoice,
    lane_addresses: &[SocketAddr],
    interfaces: &[Interface],
    port: u16,
) -> String {
    let plan = Plan { choice: choice.clone(), lane_addresses: lane_addresses.to_vec() };
    let planned = plan.on(interfaces).and_then(|planned| match try_load(port) {
        Ok(()) => Ok(planned),
        Err(error) => Err(reason(&error)),
    });
    let (names, why) = match planned {
        Ok(planned) => planned,
        Err(why) => return format!("lanes would be switched in user space: {why}"),
    };
    let (there, absent): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| interfaces.iter().any(|at| at.name == *name));
    let absent = absent.join(", ");
    let mut foretold = format!(
        "lanes would be switched by the kernel (XDP) on {} ({why}), in the driver where it can",
        there.join(", ")
    );
    if !absent.is_empty() {
        foretold.push_str(&format!("\nthere is no interface {absent} yet"));
    }
    foretold
}

/// Tries whether the kernel takes the program; nothing is attached.
fn try_load(port: u16) -> Result<(), dataplane::Error> {
    let options = LaneOptions { capacity: 2, clients: 2, port, answers: Some(Stun::allowance()) };
    LaneSwitch::load(options).map(drop)
}

/// A switch that the kernel is to have, as soon as there is an interface for it.
#[derive(Clone)]
pub(super) struct Wish {
    plan: Plan,
    options: LaneOptions,
    bound: SocketAddr,
}

impl Wish {
    pub(super) fn new(choice: &XdpChoice, settings: &Settings, bound: SocketAddr) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let capacity = number(2 * settings.lanes);
        // Who is gone keeps its lanes for a while; the first place is nobody's.
        let clients = number(settings.clients).saturating_add(capacity).saturating_add(1);
        // The kernel's program knows one address only.
        let answers = settings.stun.is_empty().then(Stun::allowance);
        let lane_addresses = settings.lane_addresses.clone();
        Self {
            plan: Plan { choice: choice.clone(), lane_addresses },
            options: LaneOptions { capacity, clients, port: bound.port(), answers },
            bound,
        }
    }

    /// The switch, which hangs nowhere yet, and word of its end. That takes the kernel a while.
    pub(super) fn load(&self, interfaces: &[Interface]) -> Result<(KernelSwitch, Lost), Refused> {
        let may_come = self.plan.choice != XdpChoice::Off;
        self.plan.on(interfaces).map_err(|why| Refused { why, may_come })?;
        match LaneSwitch::load(self.options) {
            Ok(switch) => {
                let (held, lost) = oneshot::channel();
                let places = Places::new(self.plan.clone());
                Ok((KernelSwitch::new(switch, self.bound, places, held), lost))
            }
            Err(error) => Err(Refused { why: reason(&error), may_come: false }),
        }
    }
}

/// Why there is no switch, and whether other interfaces may change that.
pub(super) struct Refused {
    pub(super) why: String,
    pub(super) may_come: bool,
}

/// Hangs a switch with these lanes on its interfaces, if one can be had.
pub(super) fn hang(
    mut kernel: KernelSwitch,
    lanes: impl Iterator<Item = SwitchChange>,
    interfaces: &[Interface],
) -> (Option<KernelSwitch>, XdpStatus) {
    // What is not in its table would be dropped.
    let hung = kernel.fill(lanes).and_then(|()| kernel.follow(interfaces));
    let status = kernel.xdp();
    match hung {
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
