//! `cargo xtask bench NAME`: measures, and says of each number whether it reaches what it must.

mod micro;
mod tunnel;

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Serialize, Serializer};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure
    name: Name,
    /// Print one JSON object in place of the table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Single functions, by criterion: `cargo bench -p benches`
    Micro,
    /// The tunnel beside wireguard-go, boringtun-cli and gotatun
    Tunnel,
}

/// Measures; fails when a row does not reach what it must.
pub(crate) fn run(args: Args) -> Result<()> {
    let report = match args.name {
        Name::Micro => micro::measure()?,
        Name::Tunnel => tunnel::measure()?,
    };
    if args.json {
        let json = serde_json::to_string_pretty(&report).context("writing the report as JSON")?;
        println!("{json}");
    } else {
        print!("{}", report.table());
    }
    let short: Vec<&str> =
        report.rows.iter().filter(|r| r.pass == Some(false)).map(|r| r.name.as_str()).collect();
    if short.is_empty() {
        return Ok(());
    }
    bail!("below what has to be reached: {}", short.join(", "))
}

/// What one bench found.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) bench: &'static str,
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
}

/// Where it was measured: numbers mean nothing without it.
#[derive(Serialize)]
pub(crate) struct Machine {
    kernel: String,
    cpu: String,
    cores: usize,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Result<Self> {
        let read = |file: &str| fs::read_to_string(file).with_context(|| format!("reading {file}"));
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let cpu = model.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu: cpu.to_owned(),
            cores: std::thread::available_parallelism().context("counting cores")?.get(),
        })
    }
}

/// One number, with what it is compared to.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// The median of the samples.
    pub(crate) value: f64,
    /// What it is measured against, and that one's median in the same unit.
    pub(crate) against: Option<Against>,
    /// Value over the other's value.
    pub(crate) ratio: Option<f64>,
    /// What has to be reached.
    pub(crate) reach: Option<Reach>,
    /// Whether it is reached; nothing when nothing has to be.
    pub(crate) pass: Option<bool>,
    pub(crate) samples: Vec<f64>,
}

/// The other side of a comparison.
#[derive(Clone, Serialize)]
pub(crate) struct Against {
    pub(crate) name: String,
    pub(crate) value: f64,
}

impl Row {
    /// A row from its samples. `reach` binds the ratio when there is one, else the value.
    pub(crate) fn new(
        name: impl Into<String>,
        unit: &'static str,
        samples: Vec<f64>,
        against: Option<Against>,
        reach: Option<Reach>,
    ) -> Result<Self> {
        let name = name.into();
        let value = median(&samples).with_context(|| format!("{name}: no usable sample"))?;
        let ratio = against.as_ref().map(|other| value / other.value);
        let pass = reach.map(|reach| reach.holds(ratio.unwrap_or(value)));
        Ok(Self { name, unit, value, against, ratio, reach, pass, samples })
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

impl Report {
    /// The report as a Markdown table under a line that names the machine.
    fn table(&self) -> String {
        let Machine { kernel, cpu, cores } = &self.machine;
        let mut table = format!(
            "{}: {cpu}, {cores} cores, Linux {kernel}\n\n\
             | what | value | against | ratio | reach | pass |\n|---|--:|---|--:|---|---|\n",
            self.bench
        );
        for row in &self.rows {
            let unit = row.unit;
            let against = row.against.as_ref();
            let against = against.map(|o| format!("{}: {:.2} {unit}", o.name, o.value));
            let ratio = row.ratio.map(|ratio| format!("{ratio:.2}"));
            let reach = row.reach.map(|reach| reach.to_string());
            let pass = row.pass.map(|pass| if pass { "yes" } else { "**no**" });
            let _ = writeln!(
                table,
                "| {} | {:.2} {unit} | {} | {} | {} | {} |",
                row.name,
                row.value,
                against.unwrap_or_default(),
                ratio.unwrap_or_default(),
                reach.unwrap_or_default(),
                pass.unwrap_or_default(),
            );
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn against(value: f64) -> Option<Against> {
        Some(Against { name: "other".to_owned(), value })
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
        let pass = |value, other, reach: &str| {
            let reach = Some(reach.parse().unwrap());
            Row::new("row", "Gbit/s", vec![value], other, reach).unwrap().pass
        };
        assert_eq!(pass(13.0, against(2.0), ">= 6.5"), Some(true));
        assert_eq!(pass(12.9, against(2.0), ">= 6.5"), Some(false));
        assert_eq!(pass(12.9, None, ">= 6.5"), Some(true));
        assert_eq!(pass(65.0, None, "<= 64"), Some(false));
        // Against nothing at all: no number, no pass.
        assert_eq!(pass(0.0, against(0.0), ">= 1"), Some(false));
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
        let machine = Machine { kernel: "6.18".into(), cpu: "a CPU".into(), cores: 2 };
        let reach = Some(Reach::AtLeast(6.5));
        let row = Row::new("tcp", "Gbit/s", vec![14.0, 13.0, 12.0], against(2.0), reach).unwrap();
        let report = Report { bench: "tunnel", machine, rows: vec![row] };
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!({
                "bench": "tunnel",
                "machine": {"kernel": "6.18", "cpu": "a CPU", "cores": 2},
                "rows": [{
                    "name": "tcp", "unit": "Gbit/s", "value": 13.0,
                    "against": {"name": "other", "value": 2.0}, "ratio": 6.5,
                    "reach": ">= 6.5", "pass": true, "samples": [14.0, 13.0, 12.0],
                }],
            })
        );
        let line = "| tcp | 13.00 Gbit/s | other: 2.00 Gbit/s | 6.50 | >= 6.5 | yes |\n";
        assert!(report.table().ends_with(line), "{}", report.table());
    }
}
