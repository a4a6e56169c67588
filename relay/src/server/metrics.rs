//! What operators and Prometheus are shown.

use anyhow::{Context, Result};
use dataplane::LaneCounters;
use dataplane_common::DropReason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use proto::lane::LaneId;
use proto::relay::LaneRefused;
use serde_json::json;

use super::admission::Turned;
use super::hub::Report;

/// Everything, at one moment.
pub(super) struct Snapshot {
    pub(super) report: Report,
    pub(super) turned: Turned,
    pub(super) certificate: certificates::Report,
    /// What is wrong with the line to the control plane, if there is to be one.
    pub(super) control: Option<Option<String>>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Snapshot {
    fn gauges(&self) -> [(&'static str, &'static str, usize); 7] {
        let totals = &self.report.totals;
        [
            ("homes", "Clients whose home this relay is", totals.homes),
            ("networks", "Networks that have nodes here", totals.networks),
            ("lanes", "Lanes that are open", totals.lanes),
            ("lane_ends_bound", "Ends of lanes that have proven an address", self.report.bound),
            ("waiting_bytes", "Bytes that wait for receivers", totals.waiting),
            ("draining", "1 if the relay is going away", usize::from(totals.draining)),
            ("up", "1: the relay serves", 1),
        ]
    }

    /// Who switches lanes, if there are any.
    fn lane_switch(&self) -> Option<&'static str> {
        let who = if self.report.kernel.is_some() { "xdp" } else { "userspace" };
        self.report.takes_lanes.then_some(who)
    }

    /// Interfaces on which the kernel switches lanes, by mode.
    fn xdp(&self) -> [(&'static str, usize); 2] {
        let count = |mode| self.report.xdp.interfaces.iter().filter(|at| at.mode == mode).count();
        [("driver", count("driver")), ("generic", count("generic"))]
    }

    /// Packets and bytes that no process has seen.
    fn in_kernel(&self) -> [u64; 2] {
        let kernel = self.report.kernel.as_ref();
        kernel.map_or([0; 2], |kernel| [kernel.totals.packets, kernel.totals.bytes])
    }

    /// The lanes in the kernel that carry most.
    fn busiest(&self) -> Vec<serde_json::Value> {
        let lanes = self.report.kernel.iter().flat_map(|kernel| &kernel.busiest);
        let drops = |lane: &LaneCounters| -> serde_json::Map<_, _> {
            let count =
                |reason: DropReason| (reason.label().to_owned(), lane.dropped(reason).into());
            LaneCounters::REASONS.into_iter().map(count).collect()
        };
        let json = |(id, lane): &(LaneId, LaneCounters)| {
            json!({
                "lane": format!("{:08x}", id.get()),
                "packets": lane.packets,
                "bytes": lane.bytes,
                "drops": drops(lane),
            })
        };
        lanes.map(json).collect()
    }

    fn counters(&self) -> [(&'static str, &'static str, u64); 16] {
        let counters = &self.report.counters;
        let [kernel_packets, kernel_bytes] = self.in_kernel();
        [
            ("packets_in", "Packets from connections of clients", counters.packets_in),
            ("bytes_in", "Bytes of packets from connections of clients", counters.bytes_in),
            ("packets_out", "Packets to connections of clients", counters.packets_out),
            ("bytes_out", "Bytes of packets to connections of clients", counters.bytes_out),
            ("lane_packets", "Packets that left by lanes", counters.lane_packets),
            ("lane_bytes", "Bytes of packets that left by lanes", counters.lane_bytes),
            ("kernel_packets", "Packets of lanes switched by the kernel", kernel_packets),
            ("kernel_bytes", "Their bytes, headers of lanes counted", kernel_bytes),
            ("stun_answers", "Answers to STUN", counters.stun_answers),
            ("link_packets_in", "Packets from other relays", counters.link_packets_in),
            ("link_bytes_in", "Bytes of packets from other relays", counters.link_bytes_in),
            ("link_packets_out", "Packets to other relays", counters.link_packets_out),
            ("link_bytes_out", "Bytes of packets to other relays", counters.link_bytes_out),
            ("crowded", "Connections turned away in a crowd", self.turned.crowded),
            ("failed", "Connections that failed before admission", self.turned.failed),
            (
                "certificate_failures",
                "Attempts to replace the certificate that failed",
                self.certificate.failures,
            ),
        ]
    }

    fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = &self.report.counters;
        let of_relay = DropReason::ALL.into_iter().filter(|reason| reason.is_of_relay());
        of_relay.map(|reason| (reason.label(), counters.dropped(reason)))
    }

    fn lanes_refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = &self.report.counters;
        LaneRefused::ALL.into_iter().map(|why| (why.label(), counters.lanes_refused(why)))
    }

    fn clients(&self) -> [(&'static str, usize); 2] {
        let totals = &self.report.totals;
        [("quic", totals.quic), ("tls", totals.tls)]
    }

    /// The JSON of /status.
    pub(super) fn to_json(&self) -> String {
        let counters: serde_json::Map<_, _> = self
            .counters()
            .into_iter()
            .map(|(name, _, value)| (name.into(), value.into()))
            .collect();
        let drops: serde_json::Map<_, _> =
            self.drops().map(|(reason, count)| (reason.into(), count.into())).collect();
        let refused: serde_json::Map<_, _> = self
            .turned
            .refused(&self.report.counters)
            .map(|(why, count)| (why.into(), count.into()))
            .collect();
        let lanes_refused: serde_json::Map<_, _> =
            self.lanes_refused().map(|(why, count)| (why.into(), count.into())).collect();
        let certificate = &self.certificate;
        let current = certificate.current.as_ref();
        let status = json!({
            "certificate": {
                "sha256": current.map(|(sha256, _)| sha256),
                "not_after": current.map(|(_, not_after)| not_after.0),
                "trouble": certificate.trouble,
            },
            "control": self.control.as_ref().map(|trouble| json!({ "trouble": trouble })),
            "totals": self.report.totals,
            "lane_ends_bound": self.report.bound,
            "mesh": self.report.mesh,
            "lane_switch": self.lane_switch(),
            "xdp": self.report.xdp,
            "busiest_lanes": self.busiest(),
            "counters": counters,
            "drops": drops,
            "refused": refused,
            "lanes_refused": lanes_refused,
        });
        format!("{status:#}\n")
    }

    /// The text of /metrics.
    pub(super) fn into_prometheus(self) -> Result<String> {
        let mut registry = Registry::with_prefix("nearwire_relay");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .context("writing metrics")?;
        Ok(text)
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = |value: usize| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        for (name, help, value) in self.gauges() {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge(value).encode(metric)?;
        }
        for (name, help, value) in self.counters() {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        if let Some((_, not_after)) = &self.certificate.current {
            let name = "certificate_not_after_seconds";
            let help = "Last second of the certificate, since 1970";
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(not_after.0).unwrap_or(i64::MAX)).encode(metric)?;
        }
        if let Some(trouble) = &self.control {
            let help = "1 if the control plane says who is revoked";
            let metric = encoder.encode_descriptor("control_up", help, None, MetricType::Gauge)?;
            gauge(usize::from(trouble.is_none())).encode(metric)?;
        }
        let help = "Clients that are connected, by way";
        let mut metric = encoder.encode_descriptor("clients", help, None, MetricType::Gauge)?;
        for (way, count) in self.clients() {
            gauge(count).encode(metric.encode_family(&[("way", way)])?)?;
        }
        let links = self.report.mesh.as_ref().map(|mesh| mesh.links.as_slice()).unwrap_or_default();
        let help = "1 if the link to another relay of the region is up";
        let mut metric = encoder.encode_descriptor("link_up", help, None, MetricType::Gauge)?;
        for link in links {
            let relay = link.relay.to_string();
            gauge(usize::from(link.up)).encode(metric.encode_family(&[("relay", &*relay)])?)?;
        }
        let help = "Interfaces on which the kernel switches lanes, by mode";
        let mut metric =
            encoder.encode_descriptor("xdp_interfaces", help, None, MetricType::Gauge)?;
        for (mode, count) in self.xdp() {
            gauge(count).encode(metric.encode_family(&[("mode", mode)])?)?;
        }
        let help = "Packets that were dropped, by reason";
        let mut metric = encoder.encode_descriptor("drops", help, None, MetricType::Counter)?;
        for (reason, count) in self.drops() {
            ConstCounter::new(count).encode(metric.encode_family(&[("reason", reason)])?)?;
        }
        let help = "Connections that were refused, by reason";
        let mut metric = encoder.encode_descriptor("refused", help, None, MetricType::Counter)?;
        for (reason, count) in self.turned.refused(&self.report.counters) {
            ConstCounter::new(count).encode(metric.encode_family(&[("reason", reason)])?)?;
        }
        let help = "Lanes that were asked for and are not, by reason";
        let mut metric =
            encoder.encode_descriptor("lanes_refused", help, None, MetricType::Counter)?;
        for (reason, count) in self.lanes_refused() {
            ConstCounter::new(count).encode(metric.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
