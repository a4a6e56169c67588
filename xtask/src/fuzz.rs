//! `cargo xtask fuzz`: coverage-guided fuzzing of every parser, on the pinned compiler.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{packages, process, workspace};

/// The targets, one file each in `fuzz/fuzz_targets`.
const TARGETS: [&str; 19] = [
    "control_message",
    "datagram",
    "dns",
    "host_packet",
    "inner_packet",
    "lane",
    "lane_frame",
    "mesh_frame",
    "offload",
    "policy_document",
    "policy_network",
    "policy_packet",
    "probe",
    "relay_frame",
    "stun",
    "stun_answer",
    "ticket",
    "uapi",
    "upgrade",
];

/// What libFuzzer needs of the compiler: counters on edges and traced comparisons.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1 --cfg fuzzing";

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The target to fuzz; every one in turn if none is given
    target: Option<String>,
    /// How long to fuzz each target, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Fuzzes; a finding is kept in `fuzz/artifacts` and fails the command.
pub(crate) fn run(args: Args) -> Result<()> {
    let targets: Vec<&str> = match &args.target {
        Some(target) => {
            ensure!(
                TARGETS.contains(&target.as_str()),
                "no target {target}; there are: {}",
                TARGETS.join(", ")
            );
            vec![target]
        }
        None => TARGETS.to_vec(),
    };
    packages::ensure(&[("c++", "g++")])?;
    let fuzz = workspace::root()?.join("fuzz");
    for target in targets {
        println!("fuzzing {target} for {:?}", Duration::from_secs(args.seconds));
        let corpus = fuzz.join("corpus").join(target);
        let artifacts = fuzz.join("artifacts").join(target);
        std::fs::create_dir_all(&corpus)?;
        std::fs::create_dir_all(&artifacts)?;
        let mut command = workspace::cargo()?;
        command
            .current_dir(&fuzz)
            .args(["run", "--locked", "--quiet", "--release", "--target"])
            // Named, so that build scripts are not instrumented.
            .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
            .args(["--bin", target, "--"])
            .arg(&corpus)
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_total_time={}", args.seconds))
            .args(["-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1"])
            .env("RUSTFLAGS", INSTRUMENTATION);
        process::run(&mut command)?;
    }
    Ok(())
}
