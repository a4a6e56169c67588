//! Single functions: criterion measures, this gathers what it found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{Machine, Reach, Report, Row};
use crate::{process, workspace};

/// Runs `cargo bench -p benches` and reads its estimates.
pub(crate) fn measure() -> Result<Report> {
    let machine = Machine::here()?;
    let target = workspace::Metadata::read()?.target_directory;
    // The bench counts allocations before it measures; what an earlier one counted must not stand in.
    let allocations = target.join("tmp/allocations.json");
    let _ = fs::remove_file(&allocations);
    let start = SystemTime::now();
    let mut bench = workspace::cargo()?;
    // Standard output belongs to the report; criterion's progress goes beside it.
    bench.args(["bench", "-p", "benches"]).stdout(Stdio::from(std::io::stderr()));
    process::run(&mut bench)?;

    let mut found = Vec::new();
    collect(&target.join("criterion"), start, &mut found)?;
    if found.is_empty() {
        bail!("`cargo bench -p benches` left no estimates: does the crate hold a bench yet?");
    }
    found.sort();
    let mut rows = found.iter().map(|dir| row(dir)).collect::<Result<Vec<_>>>()?;
    rows.extend(allocation_rows(read(&allocations)?));
    Ok(Report { bench: "micro", machine, rows, notes: Vec::new() })
}

/// The `new` directories written by this run; earlier ones may be of benches long gone.
fn collect(dir: &Path, since: SystemTime, into: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.with_context(|| format!("listing {}", dir.display()))?.path();
        let estimates = path.join("estimates.json");
        if path.ends_with("new") && estimates.is_file() {
            let written = fs::metadata(&estimates).and_then(|data| data.modified());
            let written = written.with_context(|| format!("asking {}", estimates.display()))?;
            if written >= since {
                into.push(path);
            }
        } else if path.is_dir() {
            collect(&path, since, into)?;
        }
    }
    Ok(())
}

/// One bench's row: the time in each of criterion's samples, of a packet if an iteration takes many.
fn row(new: &Path) -> Result<Row> {
    let id: Id = read(&new.join("benchmark.json"))?;
    let sample: Sample = read(&new.join("sample.json"))?;
    let (unit, packets) = match id.throughput {
        Some(Throughput { packets }) => ("ns/packet", packets),
        None => ("ns", 1.0),
    };
    let each = |(time, iters): (&f64, &f64)| time / iters / packets;
    let each = sample.times.iter().zip(&sample.iters).map(each).collect();
    Ok(Row::new(id.full_id, unit, each, None, None))
}

/// A packet may cost none: the bench itself fails otherwise, the rows show what was looked at.
fn allocation_rows(counts: BTreeMap<String, f64>) -> impl Iterator<Item = Row> {
    counts.into_iter().map(|(name, count)| {
        let name = format!("{name} allocations");
        Row::new(name, "allocations/packet", vec![count], None, Some(Reach::AtMost(0.0)))
    })
}

#[derive(Deserialize)]
struct Id {
    full_id: String,
    throughput: Option<Throughput>,
}

/// What one iteration works through; our benches count packets.
#[derive(Deserialize)]
struct Throughput {
    #[serde(rename = "Elements")]
    packets: f64,
}

#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

fn read<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<T> {
    let json = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("reading {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_median_time_of_one_iteration_or_packet() {
        let dir = std::env::temp_dir().join(format!("nearwire-micro-{}", std::process::id()));
        fs::create_dir_all(dir.join("verdict/new")).unwrap();
        let new = dir.join("verdict/new");
        let write_id = |id: &str| fs::write(new.join("benchmark.json"), id).unwrap();
        write_id(r#"{"full_id": "verdict/hit", "throughput": null}"#);
        fs::write(new.join("estimates.json"), "{}").unwrap();
        let sample = r#"{"iters": [10, 20, 30], "times": [100, 240, 330]}"#;
        fs::write(new.join("sample.json"), sample).unwrap();

        let mut found = Vec::new();
        collect(&dir, SystemTime::UNIX_EPOCH, &mut found).unwrap();
        let alone = row(&found[0]).unwrap();
        write_id(r#"{"full_id": "verdict/hit", "throughput": {"Elements": 10}}"#);
        let many = row(&found[0]).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            (alone.name.as_str(), alone.unit, alone.value),
            ("verdict/hit", "ns", Some(11.0))
        );
        assert_eq!((many.unit, many.value), ("ns/packet", Some(1.1)));
    }

    #[test]
    fn a_packet_may_allocate_nothing() {
        let counts = BTreeMap::from([("in/64".to_owned(), 0.0), ("out/64".to_owned(), 0.5)]);
        let rows: Vec<_> = allocation_rows(counts).map(|row| (row.name, row.pass)).collect();
        let expected = [("in/64 allocations", true), ("out/64 allocations", false)];
        assert_eq!(rows, expected.map(|(name, pass)| (name.to_owned(), Some(pass))));
    }
}
