//! What the hub does with the switch in the kernel: the same as with its own, and without it if it
//! fails.

use super::{Hub, Offer};
use crate::server::hub::Report;
use crate::server::interfaces::Interface;
use crate::server::kernel_switch::{KernelReport, KernelSwitch};
use crate::server::xdp::{self, XdpStatus, reason};

impl Hub {
    /// Does this in the kernel, if that switches. A table that cannot be written would drop what is not
    /// in it: so without it, user space has all.
    pub(super) fn in_kernel(
        &mut self,
        work: impl FnOnce(&mut KernelSwitch) -> Result<(), dataplane::Error>,
    ) {
        let Some(kernel) = &mut self.kernel else { return };
        let Err(error) = work(kernel) else { return };
        if let Ok(report) = kernel.report() {
            self.keep_counted(&report);
        }
        tracing::error!(
            %error,
            "the kernel does not switch lanes any more: user space does, until another try succeeds"
        );
        (self.kernel, self.xdp) = std::mem::take(&mut self.xdp).without(reason(&error));
    }

    /// Has the kernel's switch go by the host's interfaces as they are now.
    pub(super) fn follow(&mut self, interfaces: &[Interface]) {
        self.in_kernel(|kernel| kernel.follow(interfaces));
        if let Some(now) = self.kernel.as_ref().map(KernelSwitch::xdp) {
            self.show(now);
        }
    }

    /// Has the kernel switch from now on, if it can.
    pub(super) fn take_over(&mut self, offer: Offer) {
        let (kernel, now) = match offer.kernel {
            Ok(kernel) => xdp::hang(kernel, self.relay.switched(), &offer.interfaces),
            Err(why) => XdpStatus::default().without(why),
        };
        if let Some(lanes) = self.udp.as_ref().filter(|_| now.is_generic())
            && let Err(error) = lanes.keep_apart()
        {
            tracing::warn!(%error, "datagrams of lanes may come joined, and are switched in user space");
        }
        self.kernel = kernel;
        self.show(now);
        // Who asks has ended with the relay.
        let _ = offer.reply.send(self.kernel.is_some());
    }

    fn show(&mut self, now: XdpStatus) {
        if now != self.xdp {
            now.tell();
            self.xdp = now;
        }
    }

    /// What was counted, here and in the kernel.
    pub(super) fn report(&mut self) -> Report {
        let kernel = self.kernel.as_ref().map(KernelSwitch::report).transpose();
        let kernel = kernel.unwrap_or_else(|error| {
            tracing::warn!(%error, "the kernel's counters cannot be read");
            None
        });
        let mut counters = self.relay.counters().clone();
        counters.add(&self.lanes);
        if let Some(report) = &kernel {
            add(&mut counters, report);
        }
        let (totals, bound, xdp) = (self.relay.totals(), self.switch.len(), self.xdp.clone());
        let mesh = self.relay.mesh_status();
        Report { totals, counters, takes_lanes: self.udp.is_some(), bound, xdp, kernel, mesh }
    }

    /// Counts as its own what a kernel's switch has counted that is no more.
    fn keep_counted(&mut self, report: &KernelReport) {
        add(&mut self.lanes, report);
    }
}

fn add(counters: &mut crate::core::Counters, report: &KernelReport) {
    let totals = &report.totals;
    counters.lane_packets += totals.packets;
    // There a datagram has its header.
    let headers = totals.packets * proto::lane::LANE_HEADER_LEN as u64;
    counters.lane_bytes += totals.bytes.saturating_sub(headers);
    counters.stun_answers += totals.answers;
    for (reason, count) in &totals.drops {
        counters.drop(*reason, usize::try_from(*count).unwrap_or(usize::MAX));
    }
}
