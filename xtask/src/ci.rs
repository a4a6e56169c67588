//! `cargo xtask ci`: everything that has to hold before a change is good.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::matrix::{self, Matrix};
use crate::steps::{self, Run, Step};
use crate::{arrows, bad_input, demo, deny, process, sources, test, units, workspace};

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also write the time of each step to this file, as JSON
    #[arg(long, value_name = "FILE")]
    timings: Option<PathBuf>,
}

/// What looks at the sources, cheap checks first.
const SOURCES: [Step; 8] = [
    Step {
        name: "tools of others",
        mend: "install what is named above, then run again",
        work: |_| test::install(),
    },
    Step {
        name: "formatting",
        mend: "run `cargo fmt`",
        work: |_| process::run(workspace::cargo()?.args(["fmt", "--check"])).map(|()| None),
    },
    Step {
        name: "clippy",
        mend: "mend what clippy names; an exception needs `#[expect]` with a reason",
        work: |_| clippy().map(|()| None),
    },
    Step {
        name: "arrows between crates",
        mend: "see section 2 of the design: arrows go down, cores do no I/O",
        work: |_| arrows::check().map(Some),
    },
    Step {
        name: "what sources may say",
        mend: "take `now` as an argument, leave I/O to the shell, or give the table a reason",
        work: |_| sources::check().map(Some),
    },
    Step { name: "licences and advisories", mend: "see deny.toml", work: |_| deny::check() },
    Step {
        name: "kernel programs are what their sources build",
        mend: "run `cargo xtask build-ebpf` and commit the object",
        work: |_| kernel_programs().map(|()| None),
    },
    Step {
        name: "units of systemd",
        mend: "mend what systemd-analyze names; see `systemd-analyze security --offline=true FILE`",
        work: |_| units::check(),
    },
];

const DOCUMENTATION: Step = Step {
    name: "documentation",
    mend: "mend the links and comments that rustdoc names",
    work: |_| documentation().map(|()| None),
};

const BAD_INPUT: Step = Step {
    name: "bad input for every endpoint of the control plane",
    mend: "send what schemathesis shows, and answer with a problem that the document names",
    work: |_| bad_input::check(),
};

/// After the tests, for which its programs are built.
const DEMO: Step = Step {
    name: "the demo",
    mend: "run `cargo xtask demo`",
    work: |_| {
        let programs = workspace::Metadata::read()?.target_directory.join("debug");
        demo::run(demo::Args { programs: Some(programs) }).map(|()| None)
    },
};

/// The whole list. `cargo xtask test` without a filter runs the same.
fn list(matrix: Matrix) -> Vec<Step> {
    let mut list = Vec::from(SOURCES);
    list.extend([test::BUILD, test::QUICK, BAD_INPUT, test::WHOLE_SYSTEM, DEMO]);
    list.extend(matrix::steps(matrix));
    list.extend([test::NOTHING_LEFT, DOCUMENTATION]);
    list
}

/// Runs the list.
pub(crate) fn run(args: Args) -> Result<()> {
    run_with(args.timings, Matrix::PacketPath)
}

/// Runs the list as `cargo xtask test` does.
pub(crate) fn everything(matrix: Matrix) -> Result<()> {
    run_with(None, matrix)
}

fn run_with(timings: Option<PathBuf>, matrix: Matrix) -> Result<()> {
    test::need_root()?;
    let (done, result) = steps::run(&list(matrix), &mut Run { matrix, ..Run::default() });
    steps::summarise(&done);
    if let Some(file) = timings {
        let json = serde_json::to_string_pretty(&done).context("writing timings as JSON")?;
        fs::write(&file, json).with_context(|| format!("writing {}", file.display()))?;
    }
    result
}

fn clippy() -> Result<()> {
    let mut clippy = workspace::cargo()?;
    clippy.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    process::run(&mut clippy)
}

/// As it is typed, so that what CI does is what its mend says.
fn kernel_programs() -> Result<()> {
    let own = env::current_exe().context("finding this program")?;
    process::run(Command::new(own).args(["build-ebpf", "--check"]))
}

fn documentation() -> Result<()> {
    let mut doc = workspace::cargo()?;
    doc.args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-Dwarnings");
    process::run(&mut doc)
}
