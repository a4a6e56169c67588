//! The program of the relay's interfaces.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::bpf_get_smp_processor_id,
    macros::xdp,
    programs::XdpContext,
};
use dataplane_common::{
    Arrival, DropReason, Forwarded, Frame as _, LaneAction, LaneCounters, LaneId, Sender, switch,
};

use crate::{
    frame::XdpFrame,
    maps::{ANSWERS, ARRIVALS, DROPS, INTERFACES, LANE_DROPS, LANE_SENT, capacity},
    table::Maps,
};

#[xdp]
pub fn lanes(ctx: XdpContext) -> u32 {
    match switch(&mut XdpFrame(&ctx), &Maps) {
        LaneAction::Pass => XDP_PASS,
        LaneAction::Control(sender) => {
            remember(&ctx, &sender);
            XDP_PASS
        }
        LaneAction::Forward(forwarded) => forward(&ctx, forwarded),
        LaneAction::Answer => {
            add(ANSWERS.get_ptr_mut(0), 1);
            XDP_TX
        }
        LaneAction::Drop(reason, lane) => drop(reason, lane),
    }
}

/// Where the way back to a sender is.
#[inline(always)]
fn remember(ctx: &XdpContext, sender: &Sender) {
    if let Some(head) = XdpFrame(ctx).head::<12>() {
        let arrival = Arrival::new(ctx.ingress_ifindex() as u32, *head);
        // Where it fails, user space goes on with what it knows, or without the kernel.
        let _ = ARRIVALS.insert(sender, &arrival, 0);
    }
}

#[inline(always)]
fn forward(ctx: &XdpContext, Forwarded { id, length, egress }: Forwarded) -> u32 {
    let action = if egress == 0 || egress == ctx.ingress_ifindex() as u32 {
        XDP_TX
    } else {
        match INTERFACES.redirect(egress, 0) {
            Ok(action) => action,
            Err(_) => return drop(DropReason::LaneEgress, Some(id)),
        }
    };
    if let Some(sent) = LANE_SENT.get_ptr_mut(index(id)) {
        // SAFETY: the element is this CPU's own, and an XDP program is not interrupted by another
        // frame of the same CPU.
        unsafe {
            (*sent)[0] += 1;
            (*sent)[1] += u64::from(length);
        }
    }
    action
}

#[inline(always)]
fn drop(reason: DropReason, lane: Option<LaneId>) -> u32 {
    add(DROPS.get_ptr_mut(reason as u32), 1);
    if let Some(lane) = lane
        && let Some(place) = LaneCounters::place(reason)
        && let Some(drops) = LANE_DROPS.get_ptr_mut(index(lane))
    {
        // SAFETY: as in `forward`.
        unsafe { (*drops)[place] += 1 };
    }
    XDP_DROP
}

/// Where this CPU counts of this lane.
#[inline(always)]
fn index(lane: LaneId) -> u32 {
    // SAFETY: the helper takes no arguments and only says where it runs.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    LaneCounters::index(cpu, capacity(), lane.place())
}

#[inline(always)]
fn add(counter: Option<*mut u64>, number: u64) {
    if let Some(counter) = counter {
        // SAFETY: as in `forward`.
        unsafe { *counter += number };
    }
}
