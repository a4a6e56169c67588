//! Hanging the programs on an interface: by tcx links, or by filters of a clsact queueing discipline.

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::{
        NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcHandle,
        qdisc_add_clsact,
    },
};

use crate::{Error, Pins, PolicyPrograms, error::chain, object, programs::program_mut};

/// How the programs hang on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachKind {
    /// By tcx links (Linux 6.6 and newer).
    Tcx,
    /// As filters of a clsact queueing discipline.
    Clsact,
}

/// The filters' place, by which the next daemon finds those of a daemon that was killed. The number
/// is "nw", which nobody else is likely to take.
const PRIORITY: u16 = 0x6e77;
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// Attaches both programs one way, in place of those that were pinned; or neither, and says why not.
pub(crate) fn attach_both(
    programs: &mut PolicyPrograms,
    interface: &str,
    kind: AttachKind,
    pins: Option<&Pins>,
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
        let attached = match kind {
            AttachKind::Tcx => by_tcx(program, interface, direction, name, pins)?,
            AttachKind::Clsact => by_clsact(program, interface, direction, pins.is_some()),
        };
        match attached {
            Ok(link) => links.extend(link.map(|link| (name, link))),
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

type Attached = Result<Option<SchedClassifierLinkId>, ProgramError>;

/// A link that is pinned is nobody's, so none is given back.
fn by_tcx(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
    name: &str,
    pins: Option<&Pins>,
) -> Result<Attached, Error> {
    let Some(path) = pins.map(|pins| pins.file(name)) else {
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        return Ok(program.attach_with_options(interface, direction, options).map(Some));
    };
    let failed = |action| {
        let path = path.clone();
        move |reason| Error::Pin { action, path, reason }
    };
    if let Ok(pinned) = PinnedLink::from_pin(&path) {
        // One swap: no packet passes between the old program and the new.
        let taken_over = SchedClassifierLink::try_from(FdLink::from(pinned))
            .map_err(|error| chain(&error))
            .and_then(|link| program.attach_to_link(link).map_err(|error| chain(&error)));
        match taken_over {
            Ok(_) => return Ok(Ok(None)),
            // The link of an interface that is no more: it has nothing to enforce.
            Err(_) => std::fs::remove_file(&path)
                .map_err(|error| failed("remove the dead link")(error.to_string()))?,
        }
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let link = match program.attach_with_options(interface, direction, options) {
        Ok(id) => program.take_link(id),
        Err(error) => return Ok(Err(error)),
    };
    link.map_err(|error| chain(&error))
        .and_then(|link| FdLink::try_from(link).map_err(|error| chain(&error)))
        .and_then(|link| link.pin(&path).map_err(|error| chain(&error)))
        .map_err(failed("pin the link"))?;
    Ok(Ok(None))
}

/// A filter stays where it is when its maker is killed; the one that is there is replaced.
fn by_clsact(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
    stays: bool,
) -> Attached {
    if stays
        && let Ok(old) = SchedClassifierLink::attached(interface, direction, PRIORITY, HANDLE, None)
        && let Ok(link) = program.attach_to_link(old)
    {
        return Ok(Some(link));
    }
    let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
    let options = TcAttachOptions::Netlink(options);
    program.attach_with_options(interface, direction, options).map(Some)
}
