//! The classifier pair on the tunnel interface.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns},
    macros::classifier,
    programs::TcContext,
};
use dataplane_common::{Clock, Direction, Nanos, Tick, Verdict, verdict};

use crate::{
    maps::{BASE, DROPS, FLOW_HITS},
    packet::SkbBytes,
    state::{InForce, Remembered},
};

/// From the tunnel to the host.
#[classifier]
pub fn policy_ingress(ctx: TcContext) -> i32 {
    judge(&ctx, Direction::In)
}

/// From the host to the tunnel.
#[classifier]
pub fn policy_egress(ctx: TcContext) -> i32 {
    judge(&ctx, Direction::Out)
}

/// What a test run itself takes: a program to measure the others by.
#[classifier]
pub fn nothing(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// The kernel's clock that goes by its ticks.
struct Coarse;

impl Clock for Coarse {
    #[inline(always)]
    fn tick(&self) -> Tick {
        // SAFETY: the helper takes no arguments and only reads a counter; the kernel makes a load of it.
        Tick((unsafe { bpf_jiffies64() } & 0xffff_ffff) as u32)
    }

    #[inline(always)]
    fn now(&self) -> Nanos {
        // SAFETY: the helper takes no arguments and only reads a clock.
        Nanos(unsafe { bpf_ktime_get_coarse_ns() })
    }
}

/// What is allowed goes on to other programs (`TC_ACT_UNSPEC`): nearwire's yes does not overrule
/// an administrator's no.
#[inline(always)]
fn judge(ctx: &TcContext, direction: Direction) -> i32 {
    let Some(base) = BASE.get(0) else { return TC_ACT_SHOT as i32 };
    let policy = InForce::by(base);
    let packet = SkbBytes(ctx);
    let traffic = packet.traffic();
    match verdict(&packet, traffic, direction, &Coarse, &policy, &mut Remembered(&base.secret)) {
        Verdict::Allow { flow_hit, .. } => {
            if flow_hit {
                count(FLOW_HITS.get_ptr_mut(0));
            }
            TC_ACT_UNSPEC
        }
        Verdict::Drop { reason, .. } => {
            count(DROPS.get_ptr_mut(reason as u32));
            TC_ACT_SHOT as i32
        }
    }
}

#[inline(always)]
fn count(counter: Option<*mut u64>) {
    if let Some(counter) = counter {
        // SAFETY: the element is this CPU's own, and a classifier is not preempted by another packet
        // of the same CPU.
        unsafe { *counter += 1 };
    }
}
