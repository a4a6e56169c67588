//! What is counted.

use certificates::Report;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::store::StoreError;

/// Counters that requests raise.
#[derive(Default)]
pub struct Metrics {
    /// Nodes that came into a network, or came back.
    pub enrolled: Counter,
    /// Credentials that were none.
    pub refused: Counter,
}

/// The page of a scrape.
pub(super) async fn page(app: &App, certificate: Option<&Report>) -> Result<String, StoreError> {
    let mut registry = Registry::with_prefix("nearwire_control");
    let metrics = app.metrics();
    registry.register("enrolments", "Nodes that enrolled", metrics.enrolled.clone());
    registry.register("refused", "Credentials that were refused", metrics.refused.clone());
    let (nodes, online) = app.store().count_nodes().await?;
    let mut gauge = |name, help, value: usize| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    gauge("nodes", "Nodes of all networks", size(nodes));
    gauge("nodes_online", "Nodes that speak with some instance", size(online));
    gauge("streams", "Nodes that speak with this instance", app.hub().streams());
    gauge("networks_loaded", "Networks in this instance's memory", app.hub().networks());
    gauge("sources_locked_out", "Addresses that failed too often", app.locked());
    if let Some(certificate) = certificate {
        let failures = Counter::<u64>::default();
        failures.inc_by(certificate.failures);
        let help = "Attempts to replace the certificate that failed";
        registry.register("certificate_failures", help, failures);
        if let Some((_, not_after)) = &certificate.current {
            let last = Gauge::<i64>::default();
            last.set(i64::try_from(not_after.0).unwrap_or(i64::MAX));
            let help = "Last second of the certificate, since 1970";
            registry.register("certificate_not_after_seconds", help, last);
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|error| StoreError::Broken { what: "a metric", reason: error.to_string() })?;
    Ok(text)
}
