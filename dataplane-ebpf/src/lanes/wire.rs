//! A wire to measure by: what comes by one of its interfaces leaves by the other.

use aya_ebpf::{bindings::xdp_action::XDP_ABORTED, macros::xdp, programs::XdpContext};

use crate::maps::INTERFACES;

#[xdp]
pub fn wire(ctx: XdpContext) -> u32 {
    match INTERFACES.redirect(ctx.ingress_ifindex() as u32, 0) {
        Ok(action) => action,
        Err(_) => XDP_ABORTED,
    }
}
