//! The interfaces on which the switch is to hang, for as long as the relay runs: one that is deleted
//! and made anew gets its program again, and so does one that fits only later. It stays where it hangs:
//! clients may still come there, and some drivers lose their link when a program comes or goes.

use dataplane::{LaneSwitch, XdpMode};

use super::plan::Plan;
use super::{Attached, XdpStatus, reason};
use crate::server::interfaces::Interface;

pub(in crate::server) struct Places {
    plan: Plan,
    all: Vec<Place>,
    /// Whether datagrams may come joined to the socket of lanes, which goes by what was found at the
    /// start: then the generic mode would not do.
    joined: Option<bool>,
}

/// An interface, by its name.
struct Place {
    name: String,
    why: &'static str,
    /// As which it was seen last: a new one has another number.
    index: Option<u32>,
    hangs: Result<Attached, String>,
}

impl Places {
    /// Those that fit this plan.
    pub(super) const fn new(plan: Plan) -> Self {
        Self { plan, all: Vec::new(), joined: None }
    }

    /// Hangs the switch on those that have come, and forgets those that have gone.
    pub(in crate::server) fn follow(
        &mut self,
        switch: &mut LaneSwitch,
        interfaces: &[Interface],
    ) -> Result<(), dataplane::Error> {
        self.choose(interfaces);
        for place in &mut self.all {
            let now = interfaces.iter().find(|at| at.name == place.name).map(|at| at.index);
            if now == place.index {
                continue;
            }
            if place.hangs.is_ok() {
                switch.detach(&place.name)?;
            }
            place.index = now;
            place.hangs = match now {
                Some(_) => attach_to(switch, &place.name, place.why, self.joined == Some(true)),
                None => Err(format!("there is no interface {}", place.name)),
            };
        }
        let generic = self.status().is_generic();
        self.joined.get_or_insert(!generic);
        Ok(())
    }

    /// Takes those that fit now. Where none does any more, nothing is better than what there was.
    fn choose(&mut self, interfaces: &[Interface]) {
        let Ok((names, why)) = self.plan.on(interfaces) else { return };
        let is_new = |name: &String| self.all.iter().all(|place| place.name != *name);
        let new: Vec<String> = names.iter().filter(|name| is_new(name)).cloned().collect();
        if new.is_empty() {
            return;
        }
        // What has gone is not missed where another has come.
        self.all.retain(|place| place.index.is_some() || names.contains(&place.name));
        self.all.extend(new.into_iter().map(|name| {
            let hangs = Err(format!("there is no interface {name}"));
            Place { name, why, index: None, hangs }
        }));
    }

    /// Where the switch hangs, and where not.
    pub(in crate::server) fn status(&self) -> XdpStatus {
        let mut status = XdpStatus::default();
        for place in &self.all {
            match &place.hangs {
                Ok(attached) => status.interfaces.push(attached.clone()),
                Err(why) => status.refused.push(why.clone()),
            }
        }
        status
    }
}

fn attach_to(
    switch: &mut LaneSwitch,
    name: &str,
    why: &str,
    joined: bool,
) -> Result<Attached, String> {
    let attached = |mode: XdpMode, why: String| {
        let (interface, mode) = (name.to_owned(), mode.to_string());
        Attached { interface, mode, why }
    };
    let driver = match switch.attach(name, XdpMode::Driver) {
        Ok(()) => return Ok(attached(XdpMode::Driver, why.to_owned())),
        Err(error) => reason(&error),
    };
    if joined {
        return Err(format!("{driver}; for the generic mode, start the relay anew"));
    }
    match switch.attach(name, XdpMode::Generic) {
        Ok(()) => Ok(attached(XdpMode::Generic, driver)),
        Err(error) => Err(reason(&error)),
    }
}
