//! Single functions: criterion measures, this gathers what it found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{Machine, Report, Row};
use crate::{process, workspace};

/// Runs `cargo bench -p benches` and reads its estimates.
pub(crate) fn measure() -> Result<Report> {
    let machine = Machine::here()?;
    let target = workspace::Metadata::read()?.target_directory;
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
    let rows = found.iter().map(|dir| row(dir)).collect::<Result<_>>()?;
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

/// One bench's row: the time of an iteration in each of criterion's samples.
fn row(new: &Path) -> Result<Row> {
    let id: Id = read(&new.join("benchmark.json"))?;
    let sample: Sample = read(&new.join("sample.json"))?;
    let each = sample.times.iter().zip(&sample.iters).map(|(time, iters)| time / iters).collect();
    Ok(Row::new(id.full_id, "ns", each, None, None))
}

#[derive(Deserialize)]
struct Id {
    full_id: String,
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
    fn a_row_is_the_median_time_of_one_iteration() {
        let dir = std::env::temp_dir().join(format!("nearwire-micro-{}", std::process::id()));
        fs::create_dir_all(dir.join("verdict/new")).unwrap();
        let new = dir.join("verdict/new");
        fs::write(new.join("benchmark.json"), r#"{"full_id": "verdict/hit"}"#).unwrap();
        fs::write(new.join("estimates.json"), "{}").unwrap();
        let sample = r#"{"iters": [10, 20, 30], "times": [100, 240, 330]}"#;
        fs::write(new.join("sample.json"), sample).unwrap();

        let mut found = Vec::new();
        collect(&dir, SystemTime::UNIX_EPOCH, &mut found).unwrap();
        let row = row(&found[0]).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((row.name.as_str(), row.value), ("verdict/hit", Some(11.0)));
    }
}
