//! The policy on a tunnel interface.

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    tc::{NlOptions, TcAttachOptions, qdisc_add_clsact},
};
use dataplane_common::Generation;
use policy::Compiled;

use crate::{Counters, Error, PolicyPrograms, error::chain, object, programs::program_mut};

/// How the programs hang on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachKind {
    /// By tcx links (Linux 6.6 and newer).
    Tcx,
    /// As filters of a clsact queueing discipline.
    Clsact,
}

/// A policy enforced on a tunnel interface, both ways, until this is dropped.
#[derive(Debug)]
pub struct TunnelPolicy {
    programs: PolicyPrograms,
    attach_kind: AttachKind,
}

impl TunnelPolicy {
    /// Enforces a policy on an interface of this network namespace. Its tables are filled before
    /// the first packet is judged: there is no moment without a policy, nor one that drops all.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the programs, the policy or the interface.
    pub fn attach(interface: &str, compiled: &Compiled) -> Result<Self, Error> {
        let mut programs = PolicyPrograms::load(compiled)?;
        let attach_kind = match attach_both(&mut programs, interface, AttachKind::Tcx)? {
            Ok(()) => AttachKind::Tcx,
            Err(tcx) => match attach_both(&mut programs, interface, AttachKind::Clsact)? {
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
    pub fn attach_clsact(interface: &str, compiled: &Compiled) -> Result<Self, Error> {
        let mut programs = PolicyPrograms::load(compiled)?;
        let attach_kind = AttachKind::Clsact;
        attach_both(&mut programs, interface, attach_kind)?.map_err(|clsact| Error::Attach {
            interface: interface.to_owned(),
            tcx: "not tried".to_owned(),
            clsact,
        })?;
        Ok(Self { programs, attach_kind })
    }

    /// How the programs hang on the interface.
    #[must_use]
    pub const fn attach_kind(&self) -> AttachKind {
        self.attach_kind
    }

    /// The policy in force.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.programs.generation()
    }

    /// Puts another policy in force: see [`PolicyPrograms::apply`].
    ///
    /// # Errors
    ///
    /// When the kernel has no room for it; then the old policy stays in force.
    pub fn apply(&mut self, compiled: &Compiled) -> Result<Generation, Error> {
        self.programs.apply(compiled)
    }

    /// What the programs have counted.
    ///
    /// # Errors
    ///
    /// When a map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.programs.counters()
    }

    /// How many flows are remembered: see [`PolicyPrograms::flow_count`].
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn flow_count(&self) -> Result<usize, Error> {
        self.programs.flow_count()
    }
}

/// Attaches both programs one way, or neither and says why not.
fn attach_both(
    programs: &mut PolicyPrograms,
    interface: &str,
    kind: AttachKind,
) -> Result<Result<(), String>, Error> {
    if matches!(kind, AttachKind::Clsact) {
        // It may be there already, and then serves; if it cannot be had, attaching says so.
        let _ = qdisc_add_clsact(interface);
    }
    let mut links = Vec::new();
    // What comes in first: should the other fail, the tunnel was never open.
    for (name, direction) in
        [(object::INGRESS, TcAttachType::Ingress), (object::EGRESS, TcAttachType::Egress)]
    {
        let program = program_mut(&mut programs.ebpf, name)?;
        match attach_one(program, interface, direction, kind) {
            Ok(link) => links.push((name, link)),
            Err(error) => {
                for (name, link) in links {
                    // The interface may be gone, and the link with it.
                    let _ = program_mut(&mut programs.ebpf, name)?.detach(link);
                }
                return Ok(Err(chain(&error)));
            }
        }
    }
    Ok(Ok(()))
}

fn attach_one(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
    kind: AttachKind,
) -> Result<aya::programs::tc::SchedClassifierLinkId, ProgramError> {
    let options = match kind {
        AttachKind::Tcx => TcAttachOptions::TcxOrder(LinkOrder::default()),
        AttachKind::Clsact => TcAttachOptions::Netlink(NlOptions::default()),
    };
    program.attach_with_options(interface, direction, options)
}
