//! A program to measure the switch by.

use aya_ebpf::{
    bindings::xdp_action::{XDP_PASS, XDP_TX},
    macros::xdp,
    programs::XdpContext,
};

use crate::{frame::XdpFrame, maps::port};

#[xdp]
pub fn reflect(ctx: XdpContext) -> u32 {
    match dataplane_common::reflect(&mut XdpFrame(&ctx), port()) {
        Some(()) => XDP_TX,
        None => XDP_PASS,
    }
}
