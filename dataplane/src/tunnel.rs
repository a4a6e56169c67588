//! The policy on a tunnel interface.

use policy::Compiled;

use crate::{AttachKind, Error, Pins, PolicyPrograms, attach::attach_both};

/// A policy enforced on a tunnel interface, both ways: until this is dropped or, if it is pinned,
/// until its pins are removed.
#[derive(Debug)]
pub struct TunnelPolicy {
    programs: PolicyPrograms,
    attach_kind: AttachKind,
}

impl TunnelPolicy {
    /// Enforces a policy on an interface of this network namespace. Its tables are filled before
    /// the first packet is judged: there is no moment without a policy, nor one that drops all.
    ///
    /// With pins, it takes over what they hold: the programs there are replaced in place, and flows
    /// that were known stay known.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the programs, the policy, the pins or the interface. What was
    /// enforced before stays so.
    pub fn attach(
        interface: &str,
        compiled: &Compiled,
        pins: Option<&Pins>,
    ) -> Result<Self, Error> {
        let mut programs = load(compiled, pins)?;
        let attach_kind = match attach_both(&mut programs, interface, AttachKind::Tcx, pins)? {
            Ok(()) => AttachKind::Tcx,
            Err(tcx) => match attach_both(&mut programs, interface, AttachKind::Clsact, pins)? {
                Ok(()) => AttachKind::Clsact,
                Err(clsact) => {
                    return Err(Error::Attach { interface: interface.to_owned(), tcx, clsact });
                }
            },
        };
        Ok(Self { programs, attach_kind })
    }

    /// As [`attach`](Self::attach), by clsact even where tcx is to be had: for kernels and tools
    /// that know only filters.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    pub fn attach_clsact(
        interface: &str,
        compiled: &Compiled,
        pins: Option<&Pins>,
    ) -> Result<Self, Error> {
        let mut programs = load(compiled, pins)?;
        let attach_kind = AttachKind::Clsact;
        attach_both(&mut programs, interface, attach_kind, pins)?.map_err(|clsact| {
            Error::Attach { interface: interface.to_owned(), tcx: "not tried".to_owned(), clsact }
        })?;
        Ok(Self { programs, attach_kind })
    }

    /// How the programs hang on the interface.
    #[must_use]
    pub const fn attach_kind(&self) -> AttachKind {
        self.attach_kind
    }

    /// The programs that enforce it.
    #[must_use]
    pub const fn programs(&self) -> &PolicyPrograms {
        &self.programs
    }

    /// The programs that enforce it, to change the policy in force.
    #[must_use]
    pub const fn programs_mut(&mut self) -> &mut PolicyPrograms {
        &mut self.programs
    }
}

fn load(compiled: &Compiled, pins: Option<&Pins>) -> Result<PolicyPrograms, Error> {
    match pins {
        Some(pins) => PolicyPrograms::load_pinned(compiled, pins),
        None => PolicyPrograms::load(compiled),
    }
}
