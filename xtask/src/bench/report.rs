//! What a bench found: numbers, what they are compared to, and the bounds that they must keep.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::{Serialize, Serializer};

/// What one bench found.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) bench: &'static str,
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    /// What a reader has to know beside the numbers: conditions, and who could not take part.
    pub(crate) notes: Vec<String>,
}

/// Where it was measured: numbers mean nothing without it.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// How many threads wanted to run, over the last minute before the start.
    pub(crate) load: f64,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Result<Self> {
        let read = |file: &str| fs::read_to_string(file).with_context(|| format!("reading {file}"));
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let cpu = model.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let load = read("/proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default();
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu: cpu.to_owned(),
            cores: std::thread::available_parallelism().context("counting cores")?.get(),
            load: load.parse().context("an unreadable /proc/loadavg")?,
        })
    }
}

/// One number, with what it is compared to.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// The median of the samples; none if there is no sample.
    pub(crate) value: Option<f64>,
    /// What it is measured against, and that one's median in the same unit.
    pub(crate) against: Option<Against>,
    /// Value over the other's value.
    pub(crate) ratio: Option<f64>,
    /// What has to be reached.
    pub(crate) reach: Option<Reach>,
    /// Whether it is reached; nothing when nothing has to be, or the other side took no part.
    pub(crate) pass: Option<bool>,
    pub(crate) samples: Vec<f64>,
}

/// The other side of a comparison.
#[derive(Clone, Serialize)]
pub(crate) struct Against {
    pub(crate) name: String,
    /// None if it took no part.
    pub(crate) value: Option<f64>,
}

impl Row {
    /// A row from its samples. `reach` binds the ratio when there is one, else the value.
    pub(crate) fn new(
        name: impl Into<String>,
        unit: &'static str,
        samples: Vec<f64>,
        against: Option<Against>,
        reach: Option<Reach>,
    ) -> Self {
        let value = median(&samples);
        let other = against.as_ref().map(|other| other.value);
        let ratio = value.zip(other.flatten()).map(|(value, other)| value / other);
        let pass = reach.and_then(|reach| match (value, other) {
            (None, _) => Some(false),
            (Some(value), None) => Some(reach.holds(value)),
            (Some(_), Some(_)) => ratio.map(|ratio| reach.holds(ratio)),
        });
        // Nothing over nothing is no ratio to show.
        let ratio = ratio.filter(|ratio| ratio.is_finite());
        Self { name: name.into(), unit, value, against, ratio, reach, pass, samples }
    }

    /// What it is, and beside whom.
    pub(crate) fn title(&self) -> String {
        match &self.against {
            Some(other) => format!("{} (beside {})", self.name, other.name),
            None => self.name.clone(),
        }
    }
}

/// A bound such as `>= 6.5`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reach {
    AtLeast(f64),
    AtMost(f64),
}

impl Reach {
    fn holds(self, number: f64) -> bool {
        match self {
            Self::AtLeast(bound) => number >= bound,
            Self::AtMost(bound) => number <= bound,
        }
    }
}

impl std::str::FromStr for Reach {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let bound = |number: &str| {
            number.trim().parse::<f64>().with_context(|| format!("`{text}`: not a number"))
        };
        if let Some(number) = text.strip_prefix(">=") {
            Ok(Self::AtLeast(bound(number)?))
        } else if let Some(number) = text.strip_prefix("<=") {
            Ok(Self::AtMost(bound(number)?))
        } else {
            bail!("`{text}` is no bound: write `>= NUMBER` or `<= NUMBER`")
        }
    }
}

impl std::fmt::Display for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
        }
    }
}

impl Serialize for Reach {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The middle sample, or the mean of the two in the middle; nothing when a sample is no number.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    if sorted.is_empty() || sorted.iter().any(|sample| !sample.is_finite()) {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return Some(sorted[middle]);
    }
    Some(f64::midpoint(sorted[middle - 1], sorted[middle]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn against(value: f64) -> Option<Against> {
        Some(Against { name: "other".to_owned(), value: Some(value) })
    }

    #[test]
    fn a_bound_is_read_and_written_alike() {
        for text in [">= 6.5", "<= 0.22"] {
            assert_eq!(text.parse::<Reach>().unwrap().to_string(), text);
        }
        for text in ["6.5", "> 6.5", ">= fast"] {
            assert!(text.parse::<Reach>().is_err(), "{text}");
        }
    }

    #[test]
    fn pass_is_decided_by_the_ratio_if_there_is_one() {
        let pass = |samples: &[f64], other, reach: &str| {
            let reach = Some(reach.parse().unwrap());
            Row::new("row", "Gbit/s", samples.to_vec(), other, reach).pass
        };
        assert_eq!(pass(&[13.0], against(2.0), ">= 6.5"), Some(true));
        assert_eq!(pass(&[12.9], against(2.0), ">= 6.5"), Some(false));
        assert_eq!(pass(&[12.9], None, ">= 6.5"), Some(true));
        assert_eq!(pass(&[65.0], None, "<= 64"), Some(false));
        // Against nothing at all: no number, no pass.
        assert_eq!(pass(&[0.0], against(0.0), ">= 1"), Some(false));
    }

    #[test]
    fn what_was_not_measured_passes_nothing_and_fails_only_us() {
        let reach = Some(Reach::AtLeast(2.0));
        let absent = Some(Against { name: "other".to_owned(), value: None });
        let row = Row::new("row", "Gbit/s", vec![3.0], absent, reach);
        assert_eq!((row.ratio, row.pass), (None, None));
        let row = Row::new("row", "Gbit/s", vec![], against(2.0), reach);
        assert_eq!((row.value, row.ratio, row.pass), (None, None, Some(false)));
    }

    #[test]
    fn the_median_is_not_swayed_and_refuses_nonsense() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 100.0]), Some(3.0));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn a_report_has_the_promised_shape() {
        let machine = Machine { kernel: "6.18".into(), cpu: "a CPU".into(), cores: 2, load: 0.5 };
        let reach = Some(Reach::AtLeast(6.5));
        let row = Row::new("tcp", "Gbit/s", vec![14.0, 13.0, 12.0], against(2.0), reach);
        let notes = vec!["one took no part".to_owned()];
        let report = Report { bench: "tunnel", machine, rows: vec![row], notes };
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!({
                "bench": "tunnel",
                "machine": {"kernel": "6.18", "cpu": "a CPU", "cores": 2, "load": 0.5},
                "rows": [{
                    "name": "tcp", "unit": "Gbit/s", "value": 13.0,
                    "against": {"name": "other", "value": 2.0}, "ratio": 6.5,
                    "reach": ">= 6.5", "pass": true, "samples": [14.0, 13.0, 12.0],
                }],
                "notes": ["one took no part"],
            })
        );
    }
}
