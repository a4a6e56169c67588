//! Numbers of a scrape, as the page has them.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// A name, what it means, and the number.
pub(super) type Number = (&'static str, &'static str, u64);

/// Writes numbers.
pub(super) struct Numbers<'e, 'p>(pub(super) &'e mut DescriptorEncoder<'p>);

impl Numbers<'_, '_> {
    pub(super) fn gauges(&mut self, all: impl IntoIterator<Item = Number>) -> Result<(), Error> {
        for (name, help, value) in all {
            gauge(value).encode(self.0.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }

    pub(super) fn counters(&mut self, all: impl IntoIterator<Item = Number>) -> Result<(), Error> {
        for (name, help, value) in all {
            let family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(family)?;
        }
        Ok(())
    }

    /// One gauge for each value of a label.
    pub(super) fn gauges_by<'l>(
        &mut self,
        (name, help, label): (&str, &str, &str),
        values: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            gauge(value).encode(family.encode_family(&[(label, of)])?)?;
        }
        Ok(())
    }

    /// One counter for each value of a label.
    pub(super) fn counters_by<'l>(
        &mut self,
        (name, help, label): (&str, &str, &str),
        values: impl IntoIterator<Item = (&'l str, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&[(label, of)])?)?;
        }
        Ok(())
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
