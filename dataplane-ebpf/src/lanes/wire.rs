//! A wire to measure by: what comes by one of its interfaces leaves by the other. And what may be at
//! its far end: a source of frames of many lanes, and a sink.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP},
    macros::xdp,
    programs::XdpContext,
};

use crate::{
    frame::XdpFrame,
    maps::{INTERFACES, OFFERED, SUNK, ends, first_head},
};

#[xdp]
pub fn wire(ctx: XdpContext) -> u32 {
    onward(&ctx)
}

#[xdp]
pub fn source(ctx: XdpContext) -> u32 {
    let Some(offered) = OFFERED.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: the element is this CPU's own.
    let behind = unsafe { *offered };
    let next = if behind + 1 < u32::from(ends()) { behind + 1 } else { 0 };
    // SAFETY: as above.
    unsafe { *offered = next };
    match dataplane_common::offer(&mut XdpFrame(&ctx), first_head(), behind as u16) {
        Some(()) => onward(&ctx),
        None => XDP_ABORTED,
    }
}

#[xdp]
pub fn sink(_: XdpContext) -> u32 {
    if let Some(sunk) = SUNK.get_ptr_mut(0) {
        // SAFETY: as in `source`.
        unsafe { *sunk += 1 };
    }
    XDP_DROP
}

#[inline(always)]
fn onward(ctx: &XdpContext) -> u32 {
    match INTERFACES.redirect(ctx.ingress_ifindex() as u32, 0) {
        Ok(action) => action,
        Err(_) => XDP_ABORTED,
    }
}
